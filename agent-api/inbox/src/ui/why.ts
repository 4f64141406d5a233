import { Refused } from "../api/client";
import { t } from "../words";

/** Why something did not work, for the person at the screen. */
export function why(error: unknown): string {
  if (!(error instanceof Refused)) return String(error);
  if (error.code === "offline") return t("error.offline");
  if (error.code === "forbidden") return t("error.forbidden");
  return t("error.other", { detail: error.problem.detail });
}
