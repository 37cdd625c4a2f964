// What a page must be for everybody, asked of the page itself. Returns sentences; none is a page without fault.
// Ours, and small on purpose: it checks what it says and nothing else.
async () => {
  const wrong = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const told = (one) => {
    const text = (one.textContent || "").trim().replace(/\s+/g, " ").slice(0, 50);
    return `<${one.tagName.toLowerCase()}${one.className && one.className.baseVal === undefined ? "." + one.className : ""}> ${text}`;
  };
  const named = (one) => {
    const by = (one.getAttribute("aria-labelledby") || "").split(/\s+/).filter(Boolean);
    const text = by.map((id) => document.getElementById(id)?.textContent || "").join(" ");
    const seen = [...one.querySelectorAll("img")].map((picture) => picture.alt).join(" ");
    return (one.getAttribute("aria-label") || text || one.alt || one.textContent + seen || one.title || "").trim();
  };

  // -- the document
  if (!document.documentElement.lang) wrong.push("the page names no language");
  if (!document.title.endsWith("· Daymark")) wrong.push(`the title is ${document.title}`);
  for (const [selector, count] of [["main", 1], ["h1", 1], ["body > header", 1], ["body > footer", 1]])
    if (all(selector).length !== count) wrong.push(`${all(selector).length} ${selector} instead of ${count}`);
  for (const one of all("nav, [role=region], section[aria-labelledby], article"))
    if (!named(one)) wrong.push(`a landmark without a name: ${told(one)}`);
  const navs = all("nav").map(named);
  if (new Set(navs).size !== navs.length) wrong.push(`two navigations of one name: ${navs}`);
  let above = 0;
  for (const one of all("h1, h2, h3, h4, h5, h6").filter(shown)) {
    const level = Number(one.tagName[1]);
    if (level > above + 1) wrong.push(`after h${above} comes h${level}: ${told(one)}`);
    if (!one.textContent.trim()) wrong.push(`an empty heading h${level}`);
    above = level;
  }
  const ids = all("[id]").map((one) => one.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) wrong.push(`two things have the id ${id}`);
  for (const one of all('a[href^="#"]'))
    if (!document.getElementById(decodeURIComponent(one.hash.slice(1)))) wrong.push(`nothing is at ${one.hash}`);
  for (const name of ["aria-labelledby", "aria-describedby", "for"])
    for (const one of all(`[${name}]`))
      for (const id of one.getAttribute(name).split(/\s+/))
        if (!document.getElementById(id)) wrong.push(`${name} names ${id}, which is not there`);

  // -- names
  for (const one of all("a[href], button, summary, input, select, textarea, [role=img], svg:not([aria-hidden=true])"))
    if (!named(one) && !(one.labels && one.labels.length)) wrong.push(`without a name: ${one.outerHTML.slice(0, 80)}`);
  for (const one of all("img")) if (one.getAttribute("alt") === null) wrong.push(`a picture without alt: ${one.src}`);
  for (const one of all("img").filter(shown)) {
    one.loading = "eager";
    await one.decode().catch(() => wrong.push(`a picture that is not there: ${one.src}`));
  }
  for (const one of all("th")) if (!one.scope) wrong.push(`a table head without scope: ${told(one)}`);
  for (const one of all("table"))
    if (!one.caption && !named(one.closest("[role=region]") || document.createElement("i")))
      wrong.push(`a table without a name: ${told(one)}`);
  for (const one of all("ul, ol"))
    for (const child of one.children) if (child.tagName !== "LI") wrong.push(`in a list: ${told(child)}`);
  for (const one of all("dl > *")) if (!/^(DT|DD|DIV)$/.test(one.tagName)) wrong.push(`in a list of terms: ${told(one)}`);
  for (const one of all("[style], script:not([src]), style, [onclick]")) wrong.push(`inline style or script: ${told(one)}`);

  // -- room
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > wide)
    wrong.push(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${wide} px`);
  for (const one of all("body *")) {
    if (!shown(one) || one.closest(".scroll > *, .unseen, .skip, pre")) continue;
    const box = one.getBoundingClientRect();
    if (box.width && (box.right > wide + 1 || box.left < -1)) wrong.push(`sticks out by ${Math.round(box.right - wide)} px: ${told(one)}`);
  }
  for (const one of all(".scroll"))
    if (one.scrollWidth > one.clientWidth && one.tabIndex < 0) wrong.push(`keys cannot scroll ${told(one)}`);
  for (const one of all("button, summary, nav a")) {
    const box = one.getBoundingClientRect();
    if (shown(one) && box.height < 24) wrong.push(`only ${Math.round(box.height)} px to hit: ${told(one)}`);
  }

  // -- contrast (WCAG 2.2: 4.5, large text 3)
  const colour = (text) => {
    const part = text.match(/[\d.]+/g).map(Number);
    return { r: part[0], g: part[1], b: part[2], a: part.length > 3 ? part[3] : 1 };
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a), a: 1,
  });
  const ground = (one) => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) layers.push(colour(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const bright = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const seen = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const one = node.parentElement;
    if (!node.textContent.trim() || seen.has(one) || !shown(one) || one.closest("[aria-hidden=true], .unseen, .skip")) continue;
    seen.add(one);
    const style = getComputedStyle(one), behind = ground(one), ink = colour(style.color);
    for (let at = one; at; at = at.parentElement) ink.a *= Number(getComputedStyle(at).opacity);
    const [x, y] = [bright(over(ink, behind)), bright(behind)];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    const px = parseFloat(style.fontSize);
    const enough = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (ratio < enough) wrong.push(`contrast ${ratio.toFixed(2)} of ${enough}: ${told(one)}`);
  }
  return wrong;
}
