"use strict";
// Draws every chart, again when the theme changes, and lets the controls steer them.
(() => {
  const read = (id) => document.getElementById(id).textContent;
  const tables = JSON.parse(read("tables"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 600px)");
  const views = new Map();
  window.dashboardViews = views;

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
      views.get(node.id)?.finalize();
      const spec = colored(read(`spec-${node.id}`));
      spec.datasets = { ...spec.datasets };
      for (const name of node.dataset.tables.split(" ")) spec.datasets[name] = tables[name] ?? [];
      const { view } = await vegaEmbed(node, spec, {
        actions: false, renderer: node.dataset.renderer, config, tooltip: { theme: dark.matches ? "dark" : "light" },
      });
      views.set(node.id, view);
    }
    for (const control of document.querySelectorAll("select")) steer(control.name, control.value);
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
      steer(control.name, control.value);
      describe(views.get("cells")?.signal("region"));
    });
  }
  for (const time of document.querySelectorAll("time[data-age]")) {
    const hours = (Date.now() - Date.parse(time.dateTime)) / 3_600_000;
    time.title = time.textContent;
    if (hours * 60 < 1) {
      time.textContent = "less than a minute";
      continue;
    }
    const [value, unit] = hours < 1 ? [hours * 60, "minute"] : hours < 48 ? [hours, "hour"] : [hours / 24, "day"];
    const whole = Math.floor(value);
    time.textContent = `${whole} ${unit}${whole === 1 ? "" : "s"}`;
  }
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
  draw();
})();
