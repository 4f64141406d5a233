// The sentence for a person inside a status's detail: what the channel says to do about the provider's
// code, else the hub's own, else the provider's.
interface Told {
  sentence?: unknown;
  title?: unknown;
  details?: unknown;
}

function text(value: unknown): string | null {
  return typeof value === "string" && value.trim() !== "" ? value : null;
}

export function sentenceOf(detail: Record<string, unknown> | null): string | null {
  if (!detail) return null;
  const errors = Array.isArray(detail.errors) ? (detail.errors as Told[]) : [];
  const first = errors[0];
  return text(first?.sentence) ?? text(detail.sentence) ?? text(first?.details) ?? text(first?.title);
}
