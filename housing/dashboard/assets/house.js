"use strict";
// Tells why the chosen house has its price: what adds to it, and what similar houses cost.
window.dashboardHouse = (houses, dollars) => {
  const SHOWN = 10;
  const select = document.querySelector("select[name=house]");
  if (!select) return { offer: () => {}, tell: () => {}, choose: () => {} };
  const byId = (id) => document.getElementById(id);
  const count = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
  const plain = (value) => (typeof value === "number" && Math.abs(value) >= 1e4 ? count.format(value) : String(value ?? ""));
  const signed = (value) => (value > 0 ? "+" : "") + dollars(value);
  let offered = [];

  const cells = (body, kinds, texts) => {
    const row = body.insertRow();
    texts.forEach((text, place) => {
      const node = row.appendChild(document.createElement(place ? "td" : "th"));
      if (!place) node.scope = "row";
      node.className = kinds[place];
      node.textContent = text;
    });
    return row;
  };

  const added = (house) => {
    const body = byId("house-added");
    body.replaceChildren();
    const rest = house.added.slice(SHOWN);
    const parts = house.added.slice(0, SHOWN);
    if (rest.length) parts.push([`${rest.length} others`, rest.reduce((sum, [, value]) => sum + value, 0)]);
    const longest = Math.max(1, ...parts.map(([, value]) => Math.abs(value)));
    for (const [name, value] of parts) {
      const row = cells(body, ["", "number", "share"], [`${name} `, signed(value), ""]);
      const own = row.firstChild.appendChild(document.createElement("span"));
      Object.assign(own, { className: "note", textContent: plain(house.columns[name]) });
      const bar = row.lastChild.appendChild(document.createElement("i"));
      bar.className = value < 0 ? "less" : "more";
      bar.style.width = `${(50 * Math.abs(value)) / longest}%`;
    }
    cells(body, ["", "number", ""], ["the model's price", dollars(house.predicted), ""]);
  };

  const similar = (house) => {
    const [head, body] = [byId("house-names"), byId("house-similar")];
    head.replaceChildren();
    body.replaceChildren();
    byId("house-none").hidden = house.similar.length > 0;
    if (!house.similar.length) return;
    const names = ["House", "Price", "Away, km", ...house.names];
    const kinds = names.map((_, place) => (place ? "number" : ""));
    names.forEach((name, place) => {
      const node = head.appendChild(document.createElement("th"));
      Object.assign(node, { textContent: name, scope: "col", className: kinds[place] });
    });
    cells(body, kinds, ["this", dollars(house.actual), "", ...house.names.map((name) => plain(house.columns[name]))]);
    house.similar.forEach(([price, away, ...values], place) => {
      cells(body, kinds, [String(place + 1), dollars(price), away.toFixed(1), ...values.map(plain)]);
    });
  };

  const tell = () => {
    const house = offered[Number(select.value)];
    byId("house-told").textContent = house
      ? `It cost ${dollars(house.actual)}. The model says ${dollars(house.predicted)}, between ` +
        `${dollars(house.lower)} and ${dollars(house.upper)}: ${dollars(Math.abs(house.actual - house.predicted))} ` +
        `too ${house.predicted > house.actual ? "high" : "low"}. On average it says ${dollars(house.base)}; here it adds to that:`
      : "This result was made before prices were explained.";
    byId("house-parts").hidden = !house;
    if (!house) return;
    added(house);
    similar(house);
  };

  // The houses of a model, the misses and the others apart.
  const offer = (model) => {
    offered = houses.filter((house) => house.model === model);
    select.replaceChildren();
    select.disabled = !offered.length;
    const groups = { miss: "Largest errors", spread: "Others, cheapest first" };
    for (const [kind, title] of Object.entries(groups)) {
      const group = document.createElement("optgroup");
      group.label = title;
      for (const house of offered.filter((one) => one.kind === kind)) {
        const text = `cost ${dollars(house.actual)}, priced ${dollars(house.predicted)}`;
        group.append(new Option(text, house.house));
      }
      if (group.children.length) select.append(group);
    }
  };

  const choose = (number) => {
    select.value = String(number);
    select.dispatchEvent(new Event("change"));
  };

  return { offer, tell, choose };
};
