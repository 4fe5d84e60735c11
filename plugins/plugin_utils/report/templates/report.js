"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const $ = (selector, inside = document) => inside.querySelector(selector);
  const $$ = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  // State lives in the address, so that a link keeps language, host and case: #section&lang=ko&host=lab1
  const state = () => {
    const words = location.hash.slice(1).split("&");
    const found = { section: words[0].includes("=") ? "" : words[0] };
    for (const word of words) {
      const [key, value] = word.split("=");
      if (value !== undefined) { try { found[key] = decodeURIComponent(value); } catch { found[key] = value; } }
    }
    return found;
  };
  const address = (found) => "#" + [found.section, ...["lang", "host", "case"].filter((key) => found[key]).map((key) => key + "=" + encodeURIComponent(found[key]))].filter(Boolean).join("&");
  const change = (values) => { history.replaceState(null, "", address({ ...state(), ...values })); apply(); };

  // Elements: make("td", {class: "x"}, "text", child)
  const SVG = "http://www.w3.org/2000/svg";
  const make = (name, attributes = {}, ...children) => {
    const drawn = ["svg", "line", "circle", "rect"].includes(name);
    const element = drawn ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  };

  // Language: the style sheet shows one of two; the page's own language follows.
  const language = () => ($("#lang-ko").checked ? "ko" : "en");
  for (const radio of $$("input[name=lang]")) radio.addEventListener("change", () => change({ lang: language() === "ko" ? "ko" : "" }));

  // Tables: sorted by a column, filtered by words
  const value = (cell) => {
    const text = cell.textContent.trim().replaceAll(",", "");
    const figure = /^[±●○ ]*([-+]?[0-9]+(\.[0-9]+)?)( ?([a-zµA-Z/]+))?/.exec(text);
    const factors = { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9, B: 1, KiB: 1024, MiB: 1048576, GiB: 1073741824, "B/s": 1, "KiB/s": 1024, "MiB/s": 1048576, "GiB/s": 1073741824 };
    return figure && !/^[0-9.]+[a-zA-Z]*[-.][0-9a-zA-Z]/.test(text.slice(figure[1].length)) ? Number(figure[1]) * (factors[figure[4]] ?? 1) : text === "–" || text === "" ? null : text;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
  const sort = (table, header, place) => {
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of $$("thead th", table)) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row.cells[place]), row]);
    rows.sort(([a], [b]) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : up ? compare(a, b) : compare(b, a)));
    body.append(...rows.map(([, row]) => row));
  };
  const sortable = (table) => {
    $$("thead th", table).forEach((header, place) => {
      const button = make("button", { type: "button" }, ...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sort(table, header, place));
    });
  };
  const filter = (table) => {
    const words = ($(`[data-filter=${table.id}]`)?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const differing = table.id === "matrix-table" && $("#only-differences").checked;
    let count = 0, all = 0;
    for (const body of table.tBodies) {
      let some = false;
      for (const row of body.rows) {
        if (row.className === "topic") continue;
        all += 1;
        const text = words.length ? (body.rows[0].className === "topic" ? body.rows[0].textContent + " " : "") + row.textContent : "";
        const shown = words.every((word) => text.toLowerCase().includes(word)) && !(differing && row.classList.contains("same"));
        row.hidden = !shown;
        count += shown;
        some = some || shown;
      }
      if (body.rows[0]?.className === "topic") body.hidden = !some;
    }
    const status = $(`[data-count=${table.id}]`);
    if (status) status.replaceChildren(...speak("shown", { count, all }));
  };

  // What single hosts measured is packed, and unpacked once the page stands.
  let data = null;
  const speak = (key, values = {}) => {
    if (!data) return [];
    return Object.entries(data.texts[key] ?? { en: key }).map(([lang, text]) => make("span", { lang }, text.replace(/\{(\w+)\}/g, (_all, name) => values[name] ?? "")));
  };
  const unpack = async () => {
    const bytes = Uint8Array.from(atob($("#data").textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    data = JSON.parse(await new Response(stream).text());
  };

  // The heat map
  const shade = (ratio, better) => {
    const worse = better === "lower" ? ratio : ratio ? 1 / ratio : Infinity;
    const place = [0.5, 0.8, 0.95, 1.05, 1.5, 3, 10].findIndex((bound) => worse < bound);
    return ["sm3", "sm2", "sm1", "s0", "s1", "s2", "s3", "s4"][place < 0 ? 7 : place];
  };
  const shortened = (ratio) => (ratio < 9.995 ? ratio.toFixed(2) : ratio < 100 ? ratio.toFixed(1) : ratio.toFixed(0));
  let heated = "";
  const heat = (name) => {
    const table = $("#heat-table");
    if (!table || name === heated) return;
    heated = name;
    const place = Math.max(0, data.cases.findIndex((entry) => entry.name === name));
    const entry = data.cases[place];
    $("#heat-case").value = entry.name;
    $("#heat-about").replaceChildren(...Object.keys(data.texts.heat_about).map((lang) => make("span", { lang }, data.texts.heat_about[lang].replaceAll("{reference}", entry.reference || "–").replaceAll("{case}", data.texts["case_" + entry.name][lang]))));
    const hosts = new Map(data.hosts.map((host) => [host.name, host]));
    for (const row of table.tBodies[0].rows) {
      const ratios = hosts.get(row.cells[0].textContent).ratios;
      data.engines.forEach((_engine, column) => {
        const ratio = ratios[column]?.[place][0] ?? null, cell = row.cells[column + 1];
        cell.className = ratio === null ? "" : shade(ratio, entry.better);
        cell.textContent = ratio === null ? "" : shortened(ratio);
      });
    }
  };

  // A host's page
  const family = (name) => "e-" + (["labrun", "runc", "crun", "docker", "podman", "containerd", "crio", "lxc"].find((known) => name.startsWith(known)) ?? "other");
  const number = (figure) => (figure >= 1000 ? Math.round(figure).toLocaleString("en") : String(figure));
  const chart = (host, entry, place) => {
    const rows = data.engines.map((engine, index) => ({ engine, median: host.medians[index]?.[entry.head] ?? null, ratio: host.ratios[index]?.[place][0] ?? null, samples: host.samples?.[index][place] ?? [] })).filter((row) => row.median !== null);
    rows.sort((a, b) => (entry.better === "lower" ? a.median - b.median : b.median - a.median));
    const all = rows.flatMap((row) => [row.median, ...row.samples]);
    const most = Math.max(...all), least = Math.min(...all), log = least > 0 && most > 8 * least;
    const at = (figure) => (log ? (100 * Math.log(figure / (least * 0.85))) / Math.log((most * 1.1) / (least * 0.85)) : (100 * figure) / (most * 1.05 || 1)).toFixed(2) + "%";
    const line = (row) => {
      const dots = row.samples.map((sample, order) => make("circle", { class: "dot", cx: at(sample), cy: 15 + ((order * 7) % 13) - 6, r: 3 }));
      const quarter = (part) => row.samples[Math.round((row.samples.length - 1) * part)];
      const box = row.samples.length >= 5 ? make("rect", { class: "box", x: at(quarter(0.25)), width: (parseFloat(at(quarter(0.75))) - parseFloat(at(quarter(0.25)))).toFixed(2) + "%", y: 5, height: 20, rx: 2 }) : "";
      const track = make("svg", { class: "track", "aria-hidden": "true" }, make("line", { class: "grid", x1: 0, x2: "100%", y1: 15, y2: 15 }), box, dots, make("line", { class: "mid", x1: at(row.median), x2: at(row.median), y1: 3, y2: 27 }));
      return make("div", { class: "row " + family(row.engine.name) + (row.engine.kind === "library" ? " hollow" : "") }, make("span", { class: "name" }, row.engine.name), make("span", { class: "track-cell" }, track), make("span", { class: "value" }, number(row.median) + " " + data.columns[entry.head].sign), make("span", { class: "times" }, row.ratio === null ? "" : "× " + shortened(row.ratio)));
    };
    const figure = make("figure", { class: "chart", role: "group" }, make("figcaption", {}, speak(host.samples ? "dots_samples" : "median"), " ", speak(entry.better), " ", log ? speak("log_axis") : ""), rows.map(line));
    const heads = [speak("engine"), speak("median"), speak("ratio", { reference: entry.reference || "–" }), speak("interval"), ...entry.columns.filter((column) => column !== entry.head).map((column) => [data.columns[column].measure + " " + data.columns[column].sign])];
    const cells = (row) => {
      const index = data.engines.indexOf(row.engine), ratio = host.ratios[index]?.[place] ?? [];
      const rest = entry.columns.filter((column) => column !== entry.head).map((column) => host.medians[index][column]);
      return [number(row.median), ratio[0] == null ? "–" : shortened(ratio[0]), ratio[1] == null ? "–" : shortened(ratio[1]) + "–" + shortened(ratio[2]), ...rest.map((found) => (found === null ? "–" : number(found)))];
    };
    const table = make("table", { class: "sortable" }, make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, rows.map((row) => make("tr", {}, make("th", { scope: "row" }, row.engine.name), cells(row).map((text) => make("td", {}, text))))));
    sortable(table);
    return make("details", { id: "host-" + entry.name, ...(place === 0 ? { open: "" } : {}) }, make("summary", {}, speak("case_" + entry.name)), figure, make("div", { class: "scroll" }, table));
  };
  const facts = (host) => {
    const known = Object.entries(host.environment).filter(([, found]) => found !== null);
    const shown = (key, found) => (key === "memory_bytes" ? (found / 1073741824).toFixed(1) + " GiB" : Array.isArray(found) ? found.join(", ") : String(found));
    const label = (key) => (data.texts["reason_" + key] ? speak("reason_" + key) : data.texts["environment_" + key] ? speak("environment_" + key) : key === "memory_bytes" ? speak("reason_memory") : [key.replaceAll("_", " ")]);
    return make("dl", { class: "facts" }, known.map(([key, found]) => make("div", {}, make("dt", {}, label(key)), make("dd", {}, shown(key, found)))));
  };
  const engines = (host) => make("ul", { class: "plain" }, data.engines.map((engine, index) => {
    const told = host.reasons[index] ? speak("left_out", { reason: host.reasons[index] }) : [host.versions[index] ?? "–"];
    return make("li", {}, make("b", {}, engine.name), " ", told, host.notes[index] ? " – " + host.notes[index] : "");
  }));
  let shownHost = "";
  const showHost = (name) => {
    const page = $("#host-page");
    if (!page || name === shownHost) return;
    shownHost = name;
    const host = data.hosts.find((found) => found.name === name);
    const picker = make("select", { id: "host-choice" }, data.hosts.map((found) => make("option", { value: found.name, ...(found.name === name ? { selected: "" } : {}) }, found.name)));
    picker.addEventListener("change", () => change({ section: "host-page", host: picker.value }));
    const choose = make("div", { class: "controls" }, make("label", {}, speak("host_choose"), " ", picker));
    if (data.hosts.length === 1) choose.hidden = true;
    if (!host) { picker.prepend(make("option", { value: "", selected: "" }, "–")); page.replaceChildren(make("h3", {}, speak("host_choose")), choose); return; }
    const failures = host.failures.map(([engine, entry, index, message]) => make("li", {}, make("b", {}, engine), ` ${entry} #${index}: ${message}`));
    page.replaceChildren(make("h3", {}, speak("host_page", { host: name })), choose, facts(host),
      host.shared.length ? make("p", {}, speak("machines_shared"), " ", [name, ...host.shared].join(", ")) : "",
      ...data.cases.map((entry, place) => chart(host, entry, place)),
      make("h4", {}, speak("engines")), engines(host), make("h4", {}, speak("failures")), failures.length ? make("ul", { class: "plain" }, failures) : make("p", {}, speak("no_failures")));
  };

  // The address rules what is shown.
  let section = "";
  const apply = () => {
    const found = state();
    $(found.lang === "ko" ? "#lang-ko" : "#lang-en").checked = true;
    root.lang = language();
    document.title = $("h1 span[lang=" + root.lang + "]").textContent;
    for (const option of $$("#heat-case option")) option.textContent = data.texts["case_" + option.value][root.lang];
    if (data) {
      heat(found.case ?? data.cases[0]?.name ?? "");
      showHost(found.host ?? (data.hosts.length === 1 ? data.hosts[0].name : ""));
    }
    for (const link of $$("nav a")) link.toggleAttribute("aria-current", link.hash === "#" + found.section);
    if (found.section && found.section !== section) document.getElementById(found.section)?.scrollIntoView();
    section = found.section;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (!link) return;
    event.preventDefault();
    const kept = state(), wanted = link.getAttribute("href").slice(1).split("&");
    const host = wanted.find((word) => word.startsWith("host="));
    section = "";
    history.pushState(null, "", address({ ...kept, section: wanted[0], ...(host ? { host: decodeURIComponent(host.slice(5)) } : {}) }));
    apply();
    const target = document.getElementById(wanted[0]);
    if (target) { target.tabIndex = -1; target.focus({ preventScroll: true }); }
  });
  window.addEventListener("hashchange", apply);
  window.addEventListener("popstate", apply);
  let opened = [];
  window.addEventListener("beforeprint", () => { opened = $$("details:not([open])"); for (const part of opened) part.open = true; });
  window.addEventListener("afterprint", () => { for (const part of opened) part.open = false; });

  for (const table of $$("table.sortable")) sortable(table);
  for (const input of $$("[data-filter]")) input.addEventListener("input", () => filter(document.getElementById(input.dataset.filter)));
  $("#only-differences")?.addEventListener("change", () => filter($("#matrix-table")));
  apply();
  unpack().then(() => {
    const choice = $("#heat-case");
    if (choice) {
      choice.append(...data.cases.filter((entry) => entry.reference).map((entry) => make("option", { value: entry.name }, entry.name)));
      choice.addEventListener("change", () => change({ case: choice.value }));
    }
    heated = data.cases[0]?.name ?? "";
    apply();
    for (const input of $$("[data-filter]")) filter(document.getElementById(input.dataset.filter));
    root.dataset.ready = "yes";
  });
})();
