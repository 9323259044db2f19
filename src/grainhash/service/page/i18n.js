// Every text of the page, in English and in Chinese, and how it gets into elements.
//
// `{n}` is a value, `{n%}` a share as per cent. A key with `.one` beside it is the singular in English.
// What the server says (error details, the steps of a plan) stays as the server says it.

/** @type {Record<string, string>} */
const EN = {
  "skip": "Skip to the content",
  "nav.label": "Views",
  "tab.search": "Search",
  "tab.browse": "Browse",
  "language.other": "中文",
  "language.label": "切换到中文",
  "gallery.facts": "{name} · {pictures} pictures · {regions} regions · {bits} bits",
  "gallery.facts.one": "{name} · 1 picture · {regions} regions · {bits} bits",
  "gallery.empty": "The gallery is empty. Fill it with “grainhash index FOLDER”.",
  "gallery.emptyWritable": "The gallery is empty. Choose a picture above and add it, or fill it with “grainhash index FOLDER”.",
  "version": "grainhash {version} · {encoder}",
  "footer": "Distances count the bits in which two codes differ: lower is better. A score is from 0 to 1: at 0.5 one match as good is expected by chance, at 0.9 a ninth of one. A frame shows the part that matched; no frame means the picture as a whole.",
  "close": "Close",
  "cancel": "Cancel",
  "ok": "OK",
  "whole": "the whole",
  "loading": "Loading…",
  "unnamed": "picture {id}",

  "hero.title": "Find a picture by a part of it",
  "hero.lead": "Give a picture, frame what matters in it, and see where else it is: as a whole, or as a corner of another picture.",
  "hero.pick": "Choose a picture",
  "hero.drop": "or drop one anywhere on this page, or paste it",
  "hero.samples": "Or start from one in the gallery",
  "hero.sample": "Search from {name}",
  "drop.here": "Drop the picture to search from it",

  "query.hint": "Drag on the picture to frame a part of it. With the frame focused, arrow keys move it, Shift and arrows resize it, Delete removes it.",
  "query.alt": "The query: {name}",
  "query.box": "Frame a part",
  "query.clear": "Remove the frame",
  "query.other": "Another picture",
  "query.add": "Add to the gallery",
  "query.adding": "Adding it to the gallery…",
  "query.added": "Added as {name}, number {id}.",
  "query.pasted": "pasted picture",
  "query.hidden": "Your browser cannot show this kind of picture; the search may still read it.",

  "box.role": "frame",
  "box.label": "Frame: {left%} to {right%} across, {top%} to {bottom%} down. Arrow keys move it, Shift and arrows resize it, Delete removes it.",
  "box.moved": "{left%} to {right%} across, {top%} to {bottom%} down",
  "box.cleared": "Frame removed: the whole picture",

  "settings.title": "Settings",
  "settings.changed": "{n} changed",
  "settings.reset": "Back to the defaults",
  "settings.granularity": "Compare with",
  "settings.both": "both",
  "settings.wholeOnly": "wholes",
  "settings.partOnly": "parts",
  "settings.k": "Hits",
  "settings.parts": "Look for things in it too",
  "settings.partsHint": "also searches with up to 6 things found in the query",
  "settings.verify": "Verify point by point",
  "settings.verifyHint": "matches local points with the best 20 hits; slower",
  "settings.minScore": "Least score",
  "settings.bits": "Code length",
  "settings.bitsValue": "{n} bits",
  "settings.where": "Filter",
  "settings.wherePlaceholder": "label = cat and width >= 800",
  "settings.keys": "Fields:",
  "settings.insert": "Put the field {key} into the filter",

  "results.title": "Hits",
  "results.searching": "Searching…",
  "results.status": "{n} hits in {ms} ms",
  "results.status.one": "1 hit in {ms} ms",
  "results.none": "Nothing found. A filter or a least score may leave nothing over.",
  "results.nonePlain": "Nothing found.",
  "hit.facts": "score {score} · {bits} bits",
  "hit.open": "Compare",
  "reason.part": "A part matched: {distance} of {n} bits differ; the whole differs by {whole}.",
  "reason.whole": "The whole matched: {distance} of {n} bits differ.",
  "reason.wholeParts": "The whole matched: {distance} of {n} bits differ; parts differ by {part} or more.",
  "reason.points": "{places} points match. {why}",
  "plan.title": "What the search did",
  "plan.step": "Step",
  "plan.what": "What",
  "plan.n": "Pictures",
  "plan.ms": "ms",

  "detail.title": "Hit {rank} of {n}: {name}",
  "detail.previous": "Previous hit",
  "detail.next": "Next hit",
  "detail.query": "Query",
  "detail.hit": "Hit",
  "detail.hitAlt": "The hit: {name}",
  "detail.working": "Working out where the agreement comes from…",
  "detail.heat": "Heat map",
  "detail.opacity": "How much the heat map covers",
  "detail.against": "against",
  "detail.for": "for the match",
  "detail.points": "Match points",
  "detail.pointsWorking": "Matching points…",
  "detail.pointsNone": "No points match.",
  "detail.pointsFound": "{n} points match and lie alike.",
  "detail.from": "Search from here",
  "detail.fromWhole": "The whole picture",
  "detail.fromPart": "The part that matched",
  "detail.fromBox": "The part I framed",
  "detail.frame": "Frame a part",
  "detail.why": "Why it is a hit",
  "detail.score": "Score",
  "detail.chance": "False matches",
  "detail.chanceValue": "{n} as good are expected by chance",
  "detail.bits": "Bits",
  "detail.bitsValue": "{distance} of {n} differ",
  "detail.searchedBits": "{distance} of {n} differ; {searched} of {m} in the search",
  "detail.core": "Half of what agrees",
  "detail.coreValue": "is in {query%} of the query and {hit%} of the hit, of what was compared",
  "detail.coreQuery": "is in {share%} of what was compared of the query",
  "detail.coreHit": "is in {share%} of what was compared of the hit",
  "detail.method": "Heat maps",
  "detail.exact": "exact: the shares of all places add up to the agreement",
  "detail.occlusion": "by occlusion: what the agreement loses while a patch hides a place",
  "detail.size": "Size",
  "detail.sizeValue": "{width} × {height}",
  "detail.file": "File",
  "detail.open": "Open the original",
  "detail.bitsStrip": "{same} bits agree, {distance} differ",
  "detail.agree": "agree",
  "detail.differ": "differ",
  "detail.about": "About the picture",

  "browse.title": "The gallery",
  "browse.filter": "Filter",
  "browse.apply": "Filter",
  "browse.shown": "{n} shown of {all}",
  "browse.all": "All {n} pictures shown",
  "browse.filtered": "{n} pictures pass the filter",
  "browse.filtered.one": "1 picture passes the filter",
  "browse.filteredMore": "{n} shown that pass the filter; there are more",
  "browse.none": "No picture passes this filter.",
  "browse.more": "More",
  "picture.regions": "Show the {n} regions",
  "picture.noRegions": "It has no regions: only the whole is searched.",
  "picture.nextRegion": "Frame the next region",
  "picture.hint": "Drag on the picture to frame a part; a click frames the smallest region there.",
  "picture.previous": "Previous picture",
  "picture.next": "Next picture",
  "picture.added": "Added",
  "picture.id": "Number",
  "picture.gone": "The file cannot be shown",
  "remove": "Remove from the gallery",
  "remove.title": "Remove from the gallery?",
  "remove.text": "{name} will no longer be found. The file itself stays where it is.",
  "remove.yes": "Remove",
  "remove.done": "Removed {name}.",

  "token.title": "A token is needed",
  "token.read": "This gallery asks for a token. Whoever runs it can give you one.",
  "token.again": "The token that was given does not allow this. Give another one.",
  "token.label": "Token",
  "token.send": "Continue",
  "token.wrong": "This token was not accepted.",

  "error.network": "The server cannot be reached.",
  "error.status": "The server answered with an error ({status}).",
  "error.busy": "The server is busy; trying again in {n} s…",
  "error.notPicture": "{name} is not a picture.",
  "error.tooLarge": "{name} is too large: at most {mb} MB.",
  "error.link": "Drop a file, not a link: save the picture first, or copy it and paste it here.",
  "error.token": "Without a token the server does not answer.",
  "error.gone": "This picture is not in the gallery (any more).",
};

/** @type {Record<string, string>} */
const ZH = {
  "skip": "跳到正文",
  "nav.label": "视图",
  "tab.search": "查找",
  "tab.browse": "浏览",
  "language.other": "English",
  "language.label": "Switch to English",
  "gallery.facts": "{name} · {pictures} 张图片 · {regions} 个局部 · {bits} 位编码",
  "gallery.empty": "图库还是空的。用“grainhash index 文件夹”收入图片。",
  "gallery.emptyWritable": "图库还是空的。可以在上面选一张图片加入，也可以用“grainhash index 文件夹”批量收入。",
  "version": "grainhash {version} · {encoder}",
  "footer": "距离是两个编码中不同的位数，越小越好。得分在 0 到 1 之间：0.5 表示平均每次查找会偶然出现一个同样好的匹配，0.9 表示每九次一个。方框标出匹配的局部；没有方框表示匹配的是整张图片。",
  "close": "关闭",
  "cancel": "取消",
  "ok": "确定",
  "whole": "整张图片",
  "loading": "正在加载…",
  "unnamed": "图片 {id}",

  "hero.title": "用图片的一角，找到整张图片",
  "hero.lead": "给出一张图片，框出其中要找的部分，看看它还出现在哪里：可能是相似的整张图片，也可能只是另一张图片的一角。",
  "hero.pick": "选择图片",
  "hero.drop": "也可以把图片拖到页面任意位置，或直接粘贴",
  "hero.samples": "或者从图库中的一张开始",
  "hero.sample": "以 {name} 查找",
  "drop.here": "松开鼠标，用这张图片查找",

  "query.hint": "在图片上拖动，框出要找的部分。选中方框后，方向键移动，Shift 加方向键调整大小，Delete 删除。",
  "query.alt": "查询图片：{name}",
  "query.box": "框选局部",
  "query.clear": "取消框选",
  "query.other": "换一张",
  "query.add": "加入图库",
  "query.adding": "正在加入图库…",
  "query.added": "已加入图库：{name}，编号 {id}。",
  "query.pasted": "粘贴的图片",
  "query.hidden": "浏览器无法显示这种格式的图片，但服务器也许能读取。",

  "box.role": "方框",
  "box.label": "方框：横向 {left%} 到 {right%}，纵向 {top%} 到 {bottom%}。方向键移动，Shift 加方向键调整大小，Delete 删除。",
  "box.moved": "横向 {left%} 到 {right%}，纵向 {top%} 到 {bottom%}",
  "box.cleared": "方框已删除，查找整张图片",

  "settings.title": "设置",
  "settings.changed": "已改 {n} 项",
  "settings.reset": "恢复默认",
  "settings.granularity": "比较范围",
  "settings.both": "两者",
  "settings.wholeOnly": "整体",
  "settings.partOnly": "局部",
  "settings.k": "结果数",
  "settings.parts": "同时查找图中的物体",
  "settings.partsHint": "另用查询图片中的至多 6 个物体查找",
  "settings.verify": "逐点核对",
  "settings.verifyHint": "与最好的 20 个结果逐点匹配，较慢",
  "settings.minScore": "最低得分",
  "settings.bits": "编码长度",
  "settings.bitsValue": "{n} 位",
  "settings.where": "过滤条件",
  "settings.wherePlaceholder": "label = cat and width >= 800",
  "settings.keys": "字段：",
  "settings.insert": "把字段 {key} 填入过滤条件",

  "results.title": "结果",
  "results.searching": "正在查找…",
  "results.status": "{n} 个结果，用时 {ms} 毫秒",
  "results.none": "没有找到。过滤条件或最低得分可能太严。",
  "results.nonePlain": "没有找到。",
  "hit.facts": "得分 {score} · {bits} 位",
  "hit.open": "对比",
  "reason.part": "局部匹配：{n} 位中有 {distance} 位不同；与整体相差 {whole} 位。",
  "reason.whole": "整体匹配：{n} 位中有 {distance} 位不同。",
  "reason.wholeParts": "整体匹配：{n} 位中有 {distance} 位不同；与局部至少相差 {part} 位。",
  "reason.points": "{places} 个点匹配。{why}",
  "plan.title": "查找过程",
  "plan.step": "步骤",
  "plan.what": "内容",
  "plan.n": "图片数",
  "plan.ms": "毫秒",

  "detail.title": "第 {rank} 个结果（共 {n} 个）：{name}",
  "detail.previous": "上一个结果",
  "detail.next": "下一个结果",
  "detail.query": "查询图片",
  "detail.hit": "结果",
  "detail.hitAlt": "结果：{name}",
  "detail.working": "正在分析相似之处来自哪里…",
  "detail.heat": "热图",
  "detail.opacity": "热图的不透明度",
  "detail.against": "不相似",
  "detail.for": "相似",
  "detail.points": "逐点匹配",
  "detail.pointsWorking": "正在逐点匹配…",
  "detail.pointsNone": "没有匹配的点。",
  "detail.pointsFound": "{n} 个点匹配，且相对位置一致。",
  "detail.from": "由此继续查找",
  "detail.fromWhole": "整张图片",
  "detail.fromPart": "匹配的局部",
  "detail.fromBox": "我框选的部分",
  "detail.frame": "框选局部",
  "detail.why": "为什么找到它",
  "detail.score": "得分",
  "detail.chance": "偶然匹配",
  "detail.chanceValue": "预计会偶然出现 {n} 个同样好的匹配",
  "detail.bits": "编码",
  "detail.bitsValue": "{n} 位中有 {distance} 位不同",
  "detail.searchedBits": "{n} 位中有 {distance} 位不同；查找时 {m} 位中有 {searched} 位不同",
  "detail.core": "一半的相似",
  "detail.coreValue": "集中在查询图片的 {query%} 和结果图片的 {hit%}（占参与比较的部分）",
  "detail.coreQuery": "集中在查询图片参与比较部分的 {share%}",
  "detail.coreHit": "集中在结果图片参与比较部分的 {share%}",
  "detail.method": "热图算法",
  "detail.exact": "精确：各处的贡献之和就是两个编码的一致程度",
  "detail.occlusion": "遮挡法：遮住某处后，一致程度下降多少",
  "detail.size": "尺寸",
  "detail.sizeValue": "{width} × {height}",
  "detail.file": "文件",
  "detail.open": "打开原图",
  "detail.bitsStrip": "{same} 位相同，{distance} 位不同",
  "detail.agree": "相同",
  "detail.differ": "不同",
  "detail.about": "图片信息",

  "browse.title": "图库",
  "browse.filter": "过滤条件",
  "browse.apply": "过滤",
  "browse.shown": "已显示 {n} 张，共 {all} 张",
  "browse.all": "全部 {n} 张图片均已显示",
  "browse.filtered": "{n} 张图片符合条件",
  "browse.filteredMore": "已显示 {n} 张符合条件的图片，还有更多",
  "browse.none": "没有符合条件的图片。",
  "browse.more": "更多",
  "picture.regions": "显示 {n} 个局部",
  "picture.noRegions": "这张图片没有局部，只按整体查找。",
  "picture.nextRegion": "框选下一个局部",
  "picture.hint": "拖动可框选局部；单击则框选该处最小的局部。",
  "picture.previous": "上一张",
  "picture.next": "下一张",
  "picture.added": "收入时间",
  "picture.id": "编号",
  "picture.gone": "文件无法显示",
  "remove": "从图库移除",
  "remove.title": "从图库移除？",
  "remove.text": "{name} 将不再被查到，文件本身不受影响。",
  "remove.yes": "移除",
  "remove.done": "已移除 {name}。",

  "token.title": "需要访问令牌",
  "token.read": "访问这个图库需要令牌，请向管理者索取。",
  "token.again": "已有的令牌没有这项权限，请换一个。",
  "token.label": "令牌",
  "token.send": "继续",
  "token.wrong": "令牌无效。",

  "error.network": "无法连接服务器。",
  "error.status": "服务器返回错误（{status}）。",
  "error.busy": "服务器正忙，{n} 秒后重试…",
  "error.notPicture": "{name} 不是图片。",
  "error.tooLarge": "{name} 太大，上限为 {mb} MB。",
  "error.link": "请拖入文件而不是链接：先保存图片，或复制后粘贴到这里。",
  "error.token": "没有令牌，服务器不会应答。",
  "error.gone": "图库中没有这张图片（可能已被移除）。",
};

const TEXTS = { "en": EN, "zh-CN": ZH };
const KEPT_AS = "grainhash.language";

let language = remembered() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh-CN" : "en");

/** What each element says: by attribute ("" for its text), how to make the text again. */
const sayings = new WeakMap();

function remembered() {
  try {
    const kept = localStorage.getItem(KEPT_AS);
    return kept !== null && kept in TEXTS ? kept : null;
  } catch {
    return null; // storage can be forbidden
  }
}

/**
 * A text in the language of the page.
 *
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const texts = TEXTS[language];
  const count = values.n ?? values.pictures;
  const text = (count === 1 && texts[`${key}.one`]) || texts[key] || EN[key] || key;
  return text.replace(/\{(\w+)(%?)\}/g, (_, name, percent) => {
    const value = values[name];
    if (typeof value !== "number") return value ?? "";
    return percent ? percentText(value) : value.toLocaleString(language);
  });
}

function percentText(share) {
  return share.toLocaleString(language, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 });
}

/** A small or large number in two digits, such as 1.6 × 10⁻⁷. */
export function inTwoDigits(value) {
  if (value === 0 || (value >= 0.001 && value < 1e6)) {
    return value.toLocaleString(language, { maximumSignificantDigits: 2 });
  }
  const [digits, power] = value.toExponential(1).split("e");
  const raised = [...String(Number(power))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");
  return `${digits} × 10${raised}`;
}

/** @param {string} time in ISO 8601 */
export function dateText(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
}

/**
 * Set an element's text, and set it again whenever the language changes.
 *
 * @param {Element} element
 * @param {string | (() => string)} text a key, or a function that makes the text
 */
export function say(element, text, values) {
  remember(element, "", text, values);
}

/** The same for an attribute, such as `aria-label`. */
export function sayAttribute(element, attribute, text, values) {
  remember(element, attribute, text, values);
}

function remember(element, attribute, text, values) {
  const makers = sayings.get(element) ?? {};
  makers[attribute] = typeof text === "function" ? text : () => t(text, values);
  sayings.set(element, makers);
  element.setAttribute("data-said", "");
  put(element, attribute, makers[attribute]());
}

function put(element, attribute, text) {
  if (attribute) element.setAttribute(attribute, text);
  else element.textContent = text;
}

/** Say everything below an element again; texts that stand in the HTML are taken up by their keys first. */
export function translate(root = document) {
  for (const element of root.querySelectorAll("[data-i18n]")) say(element, element.getAttribute("data-i18n"));
  for (const element of root.querySelectorAll("[data-i18n-label]")) {
    sayAttribute(element, "aria-label", element.getAttribute("data-i18n-label"));
  }
  for (const element of root.querySelectorAll("[data-said]")) {
    for (const [attribute, text] of Object.entries(sayings.get(element) ?? {})) put(element, attribute, text());
  }
}

/** Start in the language of the browser, or the one chosen before, with a button that changes it. */
export function initLanguage(toggle) {
  const show = () => {
    document.documentElement.lang = language;
    toggle.lang = language === "en" ? "zh-CN" : "en";
    translate();
  };
  say(toggle, "language.other");
  sayAttribute(toggle, "aria-label", "language.label");
  toggle.addEventListener("click", () => {
    language = language === "en" ? "zh-CN" : "en";
    try {
      localStorage.setItem(KEPT_AS, language);
    } catch {
      // then it holds for this page alone
    }
    show();
  });
  show();
}
