// The connected channel accounts, read once; their health is looked at in the settings.
import { api, good } from "../api/client";
import type { Channel } from "../api/types";
import { session } from "./session.svelte";

class Channels {
  list = $state.raw<readonly Channel[]>([]);
  kinds = $derived([...new Set(this.list.map((one) => one.channel.kind))]);

  async load(): Promise<void> {
    if (session.may("channels:read")) this.list = (await good(api.GET("/v1/channels"))).items;
  }
}

export const channels = new Channels();
