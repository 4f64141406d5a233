// What the server tells of a site; `look.rs` writes it.

export type Language = "en" | "nl";

export type Elsewhere = "whatsapp" | "messenger";

export interface Shades {
  fill: string;
  on: string;
  text: string;
}

export interface Texts {
  title?: string;
  greeting?: string;
}

export interface Look {
  site: string;
  accent: { light: Shades; dark: Shades };
  corner: "end" | "start";
  paper: "auto" | "light" | "dark";
  language?: Language;
  continue_on: Elsewhere[];
  texts: Partial<Record<Language, Texts>>;
}

/** The first of these languages that the widget speaks; English for all others. */
export function pickLanguage(wanted: Iterable<string | undefined>): Language {
  for (const one of wanted) {
    const known = /^(en|nl)\b/i.exec(one ?? "");
    if (known) return known[1]?.toLowerCase() as Language;
  }
  return "en";
}
