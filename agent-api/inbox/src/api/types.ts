// The nouns of the API by their short names, from the generated document.
import type { components } from "../../built/api/schema";

type Schemas = components["schemas"];
export type Agent = Schemas["Agent"];
export type ApiKey = Schemas["ApiKey"];
export type Attachment = Schemas["Attachment"];
export type Channel = Schemas["Channel"];
export type Colleague = Schemas["Colleague"];
export type Content = Schemas["Content"];
export type Identity = Schemas["Identity"];
export type LinkRequest = Schemas["LinkRequest"];
export type LogEvent = Schemas["Event"];
export type Me = Schemas["Me"];
export type Merge = Schemas["Merge"];
export type Message = Schemas["Message"];
export type ParkedItem = Schemas["ParkedItem"];
export type PresenceState = Schemas["PresenceState"];
export type Problem = Schemas["Problem"];
export type Sendability = Schemas["Sendability"];
export type ServerFrame = Schemas["ServerFrame"];
export type Thread = Schemas["Thread"];
