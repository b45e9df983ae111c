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

-- The kit's own text is set apart.
function Div(div)
  if not div.classes:includes("kit") then
    return nil
  end
  if not typst then
    return pandoc.BlockQuote(div.content)
  end
  local lang = quoted(div.attributes.lang or "en")
  local blocks = pandoc.Blocks({ pandoc.RawBlock("typst", "#kit[#set text(lang: " .. lang .. ")") })
  blocks:extend(div.content)
  blocks:insert(pandoc.RawBlock("typst", "]"))
  return blocks
end
