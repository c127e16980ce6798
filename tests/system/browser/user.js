"use strict";
{
  const seen = { errors: [], alerts: 0 };
  window.alert = () => { seen.alerts += 1; };
  window.addEventListener("error", (event) => seen.errors.push(event.message));
  const rows = () => [...document.querySelectorAll("#rows tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
  const count = () => document.getElementById("count").textContent;
  const filter = document.getElementById("filter");
  const type = (text) => {
    const start = performance.now();
    filter.value = text;
    filter.dispatchEvent(new Event("input", { bubbles: true }));
    document.body.getBoundingClientRect();
    return performance.now() - start;
  };
  const opened = performance.now();
  seen.requests = performance.getEntriesByType("resource").length;
  seen.first = count();
  seen.questions = [...document.querySelectorAll(".cards h2")].map((one) => one.textContent);
  const times = ["6", "6.1", "photon", "photon 6.1.77-", "failed"].map(type);
  type("photon 6.1.");
  seen.filtered = { count: count(), rows: rows() };
  const state = document.getElementById("state");
  const choose = (letter) => { state.value = letter; state.dispatchEvent(new Event("input", { bubbles: true })); };
  type("");
  choose("F");
  seen.failed = { count: count(), rows: rows() };
  choose("");
  type("no such kernel");
  seen.nothing = count();
  type("");
  const cell = [...document.querySelectorAll("#coverage-table button")].find((one) => one.dataset.target === "amazonlinux2");
  if (cell) {
    cell.click();
    const driver = document.getElementById("driver");
    seen.drilled = {
      cell: cell.textContent,
      filter: filter.value,
      driver: driver.options[driver.selectedIndex].text,
      focus: document.activeElement.id,
      targets: [...new Set(rows().map((row) => row[0]))],
      rows: rows().length,
    };
    driver.value = "";
    type("");
  }
  seen.coverage = [...document.querySelectorAll("#coverage-table button")].map((one) => one.textContent);
  seen.there = document.getElementById("there").textContent;
  type("excluded");
  const commands = rows().flat().filter((text) => text.includes("=cmd|"));
  type("");
  const groups = [...document.querySelectorAll("#failures details")].filter((one) => one.textContent.includes("<script>"));
  groups.forEach((one) => { one.open = true; });
  seen.foreign = {
    summaries: groups.map((one) => one.querySelector("summary").textContent),
    visible: groups.every((one) => one.getBoundingClientRect().height > 40),
    rebuild: groups.map((one) => [...one.querySelectorAll("code")].map((code) => code.textContent)),
    commands: [...new Set(commands)],
    links: document.querySelectorAll("[href]:not(.skip), [src], iframe, object, embed, form").length,
    scripts: [...document.scripts].map((one) => one.id || one.textContent.trim().slice(0, 12)),
  };
  const name = (one) => {
    const label = one.closest("label");
    return (one.getAttribute("aria-label") || (label && label.firstChild.textContent) || one.textContent).trim();
  };
  const reached = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")].filter((one) => one.tabIndex >= 0);
  const skip = document.querySelector(".skip");
  skip.focus();
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  seen.keyboard = {
    order: reached.map((one) => `${one.tagName} ${name(one).slice(0, 60)}`),
    skip: skip.getBoundingClientRect().left >= 0 ? "visible when focused" : "hidden",
    ids: new Set(ids).size === ids.length ? "unique" : "repeated",
    headless: [...document.querySelectorAll("table")].filter((table) => !table.tHead).length,
  };
  const print = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).filter((rule) => rule.media && rule.media.mediaText === "print");
  const hiding = print.flatMap((rule) => [...rule.cssRules]).filter((rule) => rule.style && rule.style.display === "none");
  seen.paper = { hidden: hiding.flatMap((rule) => rule.selectorText.split(",").map((one) => one.trim())) };
  // The rules for paper, applied to the screen.
  const details = [...document.querySelectorAll("details")];
  details.forEach((one) => { one.open = false; });
  print.forEach((rule) => { rule.media.mediaText = "all"; });
  const onPaper = (one) => one.checkVisibility() && one.getBoundingClientRect().height > 0 && one.scrollWidth <= one.clientWidth;
  seen.paper.details = details.length;
  seen.paper.missing = details.flatMap((one) => [...one.querySelectorAll("p, pre")]).filter((one) => !onPaper(one)).map((one) => one.textContent);
  print.forEach((rule) => { rule.media.mediaText = "print"; });
  seen.paper.closed = details.filter((one) => one.querySelector("p").checkVisibility()).length;
  const channels = (colour) => colour.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const paperOf = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const contrast = (one) => {
    const pair = [getComputedStyle(one).color, paperOf(one)].map(luminance).sort((left, right) => right - left);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  };
  const kinds = ["h1", ".dim", ".good", ".bad", ".warn", ".cards p", ".cards h2", "button.full", "button.part", "summary", "code", "td", "#filter", "label"];
  seen.look = {
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    contrast: Object.fromEntries(kinds.map((kind) => [kind, document.querySelector(kind)]).filter(([, one]) => one).map(([kind, one]) => [kind, contrast(one)])),
    overflow: Math.max(0, document.documentElement.scrollWidth - window.innerWidth),
  };
  seen.times = { opened, filters: times };
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
}
