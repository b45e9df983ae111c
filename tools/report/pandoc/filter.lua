-- What the report's Markdown means in each format. Given to pandoc by tools/report/typeset.py.

local typst = FORMAT:match("typst") ~= nil

local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"') .. '"'
end

-- Figures and tables are counted as Word counts them, before what cites them is read.
local numbers = {}
local function count(doc)
  local n_figures, n_tables = 0, 0
  doc:walk({
    traverse = "topdown",
    Figure = function(figure)
      n_figures = n_figures + 1
      numbers[figure.identifier] = tostring(n_figures)
    end,
    Table = function(table)
      n_tables = n_tables + (#table.caption.long > 0 and 1 or 0)
      numbers[table.identifier] = tostring(n_tables)
    end,
  })
end

-- Pictures with their alternative text, which pandoc's writer leaves out.
function Image(image)
  if not typst then
    return nil
  end
  local width = image.attributes.width or "85%"
  return pandoc.RawInline("typst", "#image(" .. quoted(image.src) .. ", width: " .. width ..
    ", alt: " .. quoted(pandoc.utils.stringify(image.caption)) .. ")")
end

-- A link leads to another page of the web, or it is text: the report has no other files.
function Link(link)
  local id = link.target:match("^#(fig:.+)") or link.target:match("^#(tab:.+)")
  if id and typst then
    return pandoc.RawInline("typst", "#ref(label(" .. quoted(id) .. "))")
  elseif id then
    return pandoc.Str(pandoc.utils.stringify(link) .. "\u{a0}" .. (numbers[id] or "?"))
  end
  if link.target:match("^https?://") or link.target:match("^mailto:") then
    return nil
  end
  return link.content
end

-- In the appendix nothing floats: there is too little text between its figures.
function Header(header)
  if typst and header.classes:includes("appendix") then
    local begin = "#pagebreak(weak: true)\n#set figure(placement: none)"
    return { pandoc.RawBlock("typst", begin), header }
  end
end

-- The blocks as the body of a function of the template.
local function call(name, lang, content)
  local begin = "#" .. name .. "[" .. (lang and "#set text(lang: " .. quoted(lang) .. ")" or "")
  local blocks = pandoc.Blocks({ pandoc.RawBlock("typst", begin) })
  blocks:extend(content)
  blocks:insert(pandoc.RawBlock("typst", "]"))
  return blocks
end

-- What the program says is set apart; an excerpt stays on one page with the line that names its file.
function Div(div)
  if div.classes:includes("measured") then
    return typst and call("measured", nil, div.content) or nil
  end
  if div.classes:includes("excerpt") then
    return typst and call("excerpt", "en", div.content) or div.content
  end
  return nil
end

return {
  { Pandoc = count },
  { Image = Image, Link = Link, Header = Header, Div = Div },
}
