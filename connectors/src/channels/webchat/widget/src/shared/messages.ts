// What the site's page and the panel in its frame say to each other: two closed lists of plain data.
// Each side knows the other's exact origin and window, and hears nobody else. The visitor's token and
// what is said in the conversation never travel here.

export type ToPanel =
  | { kind: "shown"; focus: boolean }
  | { kind: "hidden" }
  | { kind: "page"; url: string; title: string };

export type ToPage =
  | { kind: "ready" }
  | { kind: "unread"; count: number }
  | { kind: "close" }
  | { kind: "acted" };

type Shape = Record<string, "string" | "number" | "boolean">;

const TO_PANEL: Record<ToPanel["kind"], Shape> = {
  shown: { focus: "boolean" },
  hidden: {},
  page: { url: "string", title: "string" },
};
const TO_PAGE: Record<ToPage["kind"], Shape> = {
  ready: {},
  unread: { count: "number" },
  close: {},
  acted: {},
};

/** Our messages carry this, so that what others say is not taken for them. */
const MARK = "loket";

export function pack(message: ToPanel | ToPage): object {
  return { [MARK]: 1, ...message };
}

function read<T>(list: Record<string, Shape>, data: unknown): T | null {
  if (typeof data !== "object" || data === null) return null;
  const fields = data as Record<string, unknown>;
  const kind = fields["kind"];
  if (fields[MARK] !== 1 || typeof kind !== "string" || !Object.hasOwn(list, kind)) return null;
  const shape = list[kind] ?? {};
  const fits = Object.entries(shape).every(([name, type]) => typeof fields[name] === type);
  const names = Object.keys(fields).filter((name) => name !== MARK && name !== "kind");
  if (!fits || names.some((name) => !Object.hasOwn(shape, name))) return null;
  return data as T;
}

export const readToPanel = (data: unknown): ToPanel | null => read(TO_PANEL, data);
export const readToPage = (data: unknown): ToPage | null => read(TO_PAGE, data);
