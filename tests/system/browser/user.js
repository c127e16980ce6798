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
  type("no such kernel");
  seen.nothing = count();
  type("");
  const cell = [...document.querySelectorAll("#coverage-table button")].find((one) => one.dataset.target === "amazonlinux2");
  if (cell) {
    cell.click();
    seen.drilled = { filter: filter.value, focus: document.activeElement.id, rows: rows().length };
    type("");
  }
  seen.scripts = document.scripts.length;
  const all = document.body.textContent;
  type("excluded");
  seen.text = {
    script: [...document.querySelectorAll("summary")].some((one) => one.textContent.includes("<script>alert")),
    command: rows().some((row) => row.some((text) => text.includes("=cmd|"))),
  };
  type("");
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
  seen.times = { opened, filters: times };
  const result = document.createElement("pre");
  result.id = "seen";
  result.textContent = JSON.stringify(seen);
  document.body.append(result);
}
