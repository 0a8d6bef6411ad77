// Convex's formats of values on the wire: `json` is plain and loses types, `convex_encoded_json` keeps
// them, `export_json` is in between. Arguments are always read as the encoded form.

import { convexToJson } from "convex/values";

const FORMATS = {
  json: (value) => plain(value, "json"),
  convex_encoded_json: convexToJson,
  export_json: (value) => plain(value, "export_json"),
};

/** The encoder of a format, or null when there is no such format. */
export function encoder(format) {
  return Object.hasOwn(FORMATS, format) ? FORMATS[format] : null;
}

function plain(value, format) {
  if (typeof value === "bigint") return format === "json" ? String(value) : Number(value);
  if (value instanceof ArrayBuffer) {
    const base64 = Buffer.from(value).toString("base64");
    return format === "json" ? base64 : { $bytes: base64 };
  }
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (Array.isArray(value)) return value.map((item) => plain(item, format));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [name, plain(item, format)]),
    );
  }
  return value;
}
