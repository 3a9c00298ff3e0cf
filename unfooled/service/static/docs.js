// Draws the description of the interface from openapi.json, so that neither can fall behind the other.
"use strict";
import { byId, element } from "./parts.js";

const last = (reference) => reference.split("/").pop();

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return last(schema.$ref);
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return schema.prefixItems ? `list of ${schema.prefixItems.length} ${kind(schema.prefixItems[0])}` : `list of ${kind(schema.items)}`;
  if (schema.type === "object" && schema.additionalProperties) return `table of ${kind(schema.additionalProperties)}`;
  return schema.type ?? "anything";
}

function table(caption, heads, rows) {
  const cell = (tag, text, attributes = {}) => element(tag, { class: "text", ...attributes }, text);
  return element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption },
    element("table", {}, element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...heads.map((head) => cell("th", head, { scope: "col" })))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((text) => cell("td", text)))))));
}

function operation(path, method, about) {
  const id = about.operationId;
  const answers = Object.entries(about.responses).filter(([status]) => status !== "422" || method === "post");
  const body = Object.keys(about.requestBody?.content ?? {});
  return element("section", { "aria-labelledby": id },
    element("h2", { id }, element("code", {}, `${method.toUpperCase()} ${path}`)),
    element("p", {}, about.description ?? ""),
    body.length ? element("p", { class: "note" }, `Takes ${body.join(" or ")}: ${about.requestBody.description}.`) : null,
    table("Answers", ["status", "body", "when"], answers.map(([status, answer]) => {
      const content = Object.entries(answer.content ?? {});
      return [status, content.map(([type, value]) => kind(value.schema) || type).join(" or ") || "none", answer.description];
    })));
}

const about = await (await fetch("openapi.json")).json();
byId("about").textContent = `${about.info.summary}. ${about.info.description}`;
byId("example").textContent = [
  `curl -F file=@talk.mp4 ${location.origin}/v1/scan       # gives the id`,
  `curl ${location.origin}/v1/scan/ID                      # until the state is done or failed`,
  `curl -O ${location.origin}/v1/scan/ID/evidence/NAME     # pictures named in the scan`,
].join("\n");
byId("operations").replaceChildren(...Object.entries(about.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, what]) => operation(path, method, what))));
byId("fields").replaceChildren(...Object.entries(about.components.schemas).filter(([, schema]) => schema.properties).flatMap(([name, schema]) => [
  element("h3", { id: `schema-${name}` }, name),
  schema.description ? element("p", { class: "note" }, schema.description) : null,
  table(`Fields of ${name}`, ["field", "type", "meaning"], Object.entries(schema.properties).map(([field, value]) => [field, kind(value), value.description ?? ""])),
].filter(Boolean)));
document.documentElement.dataset.ready = "yes";
