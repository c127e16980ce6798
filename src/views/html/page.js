"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const words = { B: "built", C: "cached", F: "failed", E: "error", U: "unresolvable", K: "known", A: "cancelled", N: "not_run", X: "excluded", "-": "" };
  const shown = 100;
  const byKernel = (list, entry) => {
    const found = new Map();
    for (const [kernel, ...rest] of list) {
      const known = found.get(kernel) || [];
      known.push(entry(...rest));
      found.set(kernel, known);
    }
    return found;
  };
  const failures = byKernel(data.failures, (driver, signature, since) => ({ driver, text: `${data.signatures[signature]}${since ? ` (since ${since})` : ""}` }));
  const parts = data.excluded.flatMap(([driver, reason, kernels]) => kernels.map((kernel) => [kernel, driver, reason]));
  const excluded = byKernel(parts, (driver, reason) => ({ driver, text: data.reasons[reason] }));
  const rows = data.kernels.map((kernel, index) => {
    const [target, release, version, architecture, since, cells, reason] = kernel;
    const states = [...new Set(cells)].map((letter) => words[letter]).join(" ");
    const rules = (excluded.get(index) || []).map((one) => one.text);
    const names = [data.targets[target], release, architecture ? "arm64" : "amd64", states, reason < 0 ? "" : data.reasons[reason], rules.length ? words.X : "", ...rules];
    return { index, text: names.join(" ").toLowerCase(), kernel };
  });
  const body = document.getElementById("rows");
  const count = document.getElementById("count");
  const text = document.getElementById("filter");
  const driver = document.getElementById("driver");
  const state = document.getElementById("state");
  data.drivers.forEach((name, position) => driver.add(new Option(name, String(position))));
  for (const [letter, word] of Object.entries(words)) if (word) state.add(new Option(word, letter));
  const cell = (row, content, kind) => {
    const made = row.insertCell();
    made.textContent = content;
    if (kind) made.className = kind;
    return made;
  };
  const matches = () => {
    const wanted = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    return rows.filter((row) => {
      const cells = row.kernel[5];
      const part = driver.value === "" ? cells : cells[Number(driver.value)] || "-";
      const isRuled = () => state.value === "X" && (excluded.get(row.index) || []).some((one) => driver.value === "" || one.driver < 0 || one.driver === Number(driver.value));
      if (state.value !== "" && !part.includes(state.value) && !isRuled()) return false;
      if (driver.value !== "" && part === "-") return false;
      return wanted.every((word) => row.text.includes(word));
    });
  };
  const draw = () => {
    const found = matches();
    body.replaceChildren();
    for (const { index, kernel } of found.slice(0, shown)) {
      const [target, release, version, architecture, since, cells, reason] = kernel;
      const row = body.insertRow();
      cell(row, data.targets[target]);
      cell(row, release, "whole");
      cell(row, version);
      cell(row, architecture ? "arm64" : "amd64");
      cell(row, since, "whole");
      const parts = [...cells].map((letter, position) => (letter === "-" ? "" : `${data.drivers[position]}: ${words[letter]}`)).filter(Boolean);
      const same = new Set(cells.replaceAll("-", ""));
      const kind = [...same].some((letter) => "FEU".includes(letter)) ? "bad" : same.has("K") ? "warn" : "";
      cell(row, same.size === 1 ? words[[...same][0]] : parts.join(", "), kind);
      const why = [...(failures.get(index) || []), ...(excluded.get(index) || [])].map((one) => (one.driver < 0 ? one.text : `${data.drivers[one.driver]}: ${one.text}`));
      cell(row, reason < 0 ? why.join("\n") : data.reasons[reason], "first");
    }
    const total = found.length === 1 ? "1 kernel" : `${found.length.toLocaleString("en")} kernels`;
    count.textContent = found.length > shown ? `${total}, the first ${shown} are shown` : total;
  };
  for (const one of [text, driver, state]) one.addEventListener("input", draw);
  document.getElementById("coverage-table").addEventListener("click", (event) => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    text.value = chosen.dataset.target;
    driver.value = chosen.dataset.driver;
    state.value = "";
    draw();
    document.getElementById("kernels").scrollIntoView();
    text.focus();
  });
  document.getElementById("kernels").hidden = false;
  draw();
})();
