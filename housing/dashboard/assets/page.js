"use strict";
// Draws every chart, again when the theme changes, and lets the controls steer them.
(() => {
  const read = (id) => document.getElementById(id).textContent;
  const tables = JSON.parse(read("tables"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 600px)");
  const runs = JSON.parse(read("runs"));
  const views = new Map();
  window.dashboardViews = views;

  // What happened to a run's stages, a row for each part of its bar; the newest run first.
  tables.stages = runs.flatMap((run) => {
    const end = new Date(run.ended).toISOString().slice(5, 19).replace("T", ", ");
    const name = run.state === "success" ? end : `${end} (${run.state})`;
    let at = 0;
    return run.stages.flatMap((stage, order) => {
      const row = { run: name, stage: stage.stage, state: stage.state, part: stage.state };
      const parts = [{ ...row, order, at, seconds: stage.seconds }];
      at += stage.seconds;
      if (stage.saved) parts.push({ ...row, part: "saved", order: order + 1000, at: 0, seconds: stage.saved });
      return parts;
    });
  });

  const add = (parent, name, text, kind) => {
    const node = parent.appendChild(document.createElement(name));
    node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };

  const addLink = (parent, address, text) => {
    if (!/^https?:/.test(address)) return;
    parent.append(" ");
    const node = add(parent, "a", text);
    Object.assign(node, { href: address, target: "_blank", rel: "noopener" });
  };

  const duration = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${(seconds / 60).toFixed(1)} min`);
  const savedBy = (run) => run.stages.reduce((sum, stage) => sum + stage.saved, 0);

  const tellRuns = () => {
    const tile = document.getElementById("last-run");
    if (!runs.length) {
      add(tile, "p", "none", "big");
      add(tile, "p", "No run of the DAG was recorded yet.", "note");
      add(document.getElementById("stages-note"), "span", " No run of the DAG was recorded yet.");
      return;
    }
    const [run] = runs;
    const big = add(tile, "p", `${run.state} `, "big");
    const age = add(add(big, "small", ""), "time", run.ended);
    age.dateTime = run.ended;
    age.dataset.age = "ago";
    const cached = run.stages.filter((stage) => ["restored", "unchanged"].includes(stage.state)).length;
    add(tile, "p", `${cached} of ${run.stages.length} stages from the cache`);
    const total = duration(runs.reduce((sum, one) => sum + savedBy(one), 0));
    const over = runs.length === 1 ? "" : `, ${total} over ${runs.length} runs`;
    const note = add(tile, "p", `${duration(savedBy(run))} saved${over}`, "note");
    addLink(note, run.link, "Airflow run");
    for (const failed of runs.filter((one) => one.failures.length)) {
      for (const failure of failed.failures) {
        const line = add(document.getElementById("failures"), "li", "");
        add(line, "b", failure.task);
        line.append(` failed, run ${failed.run}: ${failure.message}`);
        addLink(line, failure.link, "log");
      }
    }
  };

  const shaped = (id, spec) => {
    if (id === "stages") spec.height = 28 * Math.max(runs.length, 1) + 10;
    if (id === "history" && narrow.matches) {
      // A phone has no room for labels side by side, and none may be left out.
      const axis = { labelAngle: -90, labelOverlap: false, title: null, labelFontSize: 10 };
      for (const layer of spec.layer) if (layer.encoding.x) layer.encoding.x.axis = axis;
    }
    return spec;
  };

  const colored = (json) => {
    const style = getComputedStyle(document.documentElement);
    return JSON.parse(json.replace(/var\((--\w+)\)/g, (_, name) => style.getPropertyValue(name).trim()));
  };

  const steer = (name, value) => {
    for (const view of views.values()) {
      if (name in view.getState({ signals: (key) => key === name }).signals) {
        view.signal(name, value).runAsync();
      }
    }
  };

  const count = new Intl.NumberFormat("en-US");
  const dollars = (value) => (value < 0 ? "-$" : "$") + count.format(Math.round(Math.abs(value)));

  const house = window.dashboardHouse(tables.houses ?? [], dollars);

  const describe = (region) => {
    const text = document.getElementById("region");
    if (!text) return;
    const model = document.querySelector("select[name=model]").value;
    const within = (value, ends) => value >= Math.min(...ends) && value <= Math.max(...ends);
    const rows = tables.cells.filter(
      (cell) =>
        cell.model === model &&
        (!region || !region.longitude ||
          (within(cell.longitude, region.longitude) && within(cell.latitude, region.latitude))),
    );
    const total = rows.reduce((sum, cell) => sum + cell.rows, 0);
    if (!total) {
      text.textContent = "No test rows in this region.";
      return;
    }
    const bias = rows.reduce((sum, cell) => sum + cell.bias * cell.rows, 0) / total;
    const rmse = Math.sqrt(rows.reduce((sum, cell) => sum + cell.rmse ** 2 * cell.rows, 0) / total);
    const where = region && region.longitude ? "In the selected region" : "All of the map";
    text.textContent =
      `${where}: ${count.format(total)} test rows, RMSE ${dollars(rmse)}, mean residual ${dollars(bias)}.`;
  };

  const draw = async () => {
    const config = colored(read("theme"));
    config.legend.columns = narrow.matches ? 2 : 0;
    for (const node of document.querySelectorAll(".chart")) {
      if (node.id === "stages" && !runs.length) continue;
      views.get(node.id)?.finalize();
      const spec = shaped(node.id, colored(read(`spec-${node.id}`)));
      spec.datasets = { ...spec.datasets };
      for (const name of node.dataset.tables.split(" ")) spec.datasets[name] = tables[name] ?? [];
      const { view } = await vegaEmbed(node, spec, {
        actions: false, renderer: node.dataset.renderer, config, tooltip: { theme: dark.matches ? "dark" : "light" },
      });
      views.set(node.id, view);
    }
    for (const control of document.querySelectorAll("select")) steer(control.name, control.value);
    views.get("points")?.addEventListener("click", (_, item) => {
      if (item?.datum?.house !== undefined) house.choose(item.datum.house);
    });
    const map = views.get("cells");
    if (map) {
      map.addSignalListener("region", (_, region) => {
        views.get("points").signal("region", region).runAsync();
        describe(region);
      });
      describe(null);
    }
    document.documentElement.dataset.ready = "true";
  };

  for (const control of document.querySelectorAll("select")) {
    control.addEventListener("change", () => {
      if (control.name === "model") {
        house.offer(control.value);
        steer("house", "0");
      }
      steer(control.name, control.value);
      house.tell();
      describe(views.get("cells")?.signal("region"));
    });
  }
  tellRuns();
  house.offer(document.querySelector("select[name=model]")?.value);
  house.tell();
  for (const time of document.querySelectorAll("time[data-age]")) {
    const hours = (Date.now() - Date.parse(time.dateTime)) / 3_600_000;
    time.title = time.textContent;
    const ago = time.dataset.age ? ` ${time.dataset.age}` : "";
    if (hours * 60 < 1) {
      time.textContent = `less than a minute${ago}`;
      continue;
    }
    const [value, unit] = hours < 1 ? [hours * 60, "minute"] : hours < 48 ? [hours, "hour"] : [hours / 24, "day"];
    const whole = Math.floor(value);
    time.textContent = `${whole} ${unit}${whole === 1 ? "" : "s"}${ago}`;
  }
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  draw();
})();
