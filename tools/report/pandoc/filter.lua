-- What the report's Markdown means in each format. Given to pandoc by tools/report/typeset.py.

local typst = FORMAT:match("typst") ~= nil

local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"') .. '"'
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
  if link.target:match("^https?://") or link.target:match("^mailto:") then
    return nil
  end
  return link.content
end

-- The blocks as the body of a function of the template.
local function call(name, lang, content)
  local begin = "#" .. name .. "[#set text(lang: " .. quoted(lang) .. ")"
  local blocks = pandoc.Blocks({ pandoc.RawBlock("typst", begin) })
  blocks:extend(content)
  blocks:insert(pandoc.RawBlock("typst", "]"))
  return blocks
end

-- The kit's own text is set apart; an excerpt stays on one page with the line that names its file.
function Div(div)
  if div.classes:includes("kit") then
    return typst and call("kit", div.attributes.lang, div.content) or
      pandoc.BlockQuote(div.content)
  end
  if div.classes:includes("excerpt") then
    return typst and call("excerpt", "en", div.content) or div.content
  end
  return nil
end
