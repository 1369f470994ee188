// What an integrator writes with the types of openapi-typescript: sends each content type, and reads all of it. It must compile
// with `strict`, so the types are part of what is tested.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Sendable = components["schemas"]["SendableContent"];
type Content = components["schemas"]["Content"];

declare const process: { argv: string[] };
const [address, key, conversation] = process.argv.slice(2) as [string, string, string];

const media = { url: "https://shop.example/a.png" };
const option = { id: "a", title: "Yes" };
const contents: Sendable[] = [
  {
    type: "text",
    text: "hello there",
    entities: [
      { kind: "bold", offset: 0, length: 5 },
      { kind: "link", offset: 6, length: 5, url: "https://shop.example" },
    ],
  },
  { type: "image", media, caption: { text: "so so" } },
  { type: "video", media },
  { type: "audio", media },
  { type: "voice", media },
  { type: "file", media },
  { type: "sticker", media, emoji: "🙂" },
  { type: "location", latitude: 50.45, longitude: 30.52 },
  { type: "contact_card", name: "Ada", phones: ["+1"] },
  {
    type: "choices",
    text: { text: "Well?" },
    options: [option, { id: "b", title: "Open", action: { do: "url", url: "https://shop.example" } }],
  },
  { type: "carousel", cards: [{ title: "One", media }] },
  { type: "template", name: "shipped" },
  { type: "email", text: "hello", subject: "Order", attachments: [media] },
];
// @ts-expect-error: a content without its fields is a mistake that the compiler finds.
const wrong: Sendable = { type: "location", name: "nowhere" };

function words(content: Content): string {
  switch (content.type) {
    case "text":
      return content.text;
    case "choice_reply":
      return content.typed ?? content.id;
    case "location":
      return `${content.latitude} ${content.longitude}`;
    case "unsupported":
      return content.kind;
    default:
      return content.type;
  }
}

function expect(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

const client = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${key}` } });
const path = { id: conversation };
for (const content of contents) {
  const { data, error } = await client.POST("/v1/conversations/{id}/messages", { params: { path }, body: { content } });
  expect(data !== undefined && data.content.type === content.type, error ?? data);
}
const { data: page } = await client.GET("/v1/conversations/{id}/messages", { params: { path, query: { limit: 200 } } });
expect(page !== undefined, page);
const types = new Set(page.items.map((message) => message.content.type));
expect(types.size === 15, [...types]);
const reply = page.items.find((message) => message.content.type === "choice_reply");
expect(reply !== undefined && words(reply.content) === "yes", reply);
const failed = page.items.find((message) => message.degraded.length > 0);
expect(failed?.degraded[1]?.code === "reply_lost" && failed.failure?.code === "rejected", failed);
const { error } = await client.POST("/v1/conversations/{id}/messages", {
  params: { path },
  body: { content: { type: "text", text: " " } },
});
expect(error?.code === "invalid_body", [error, wrong.type]);
