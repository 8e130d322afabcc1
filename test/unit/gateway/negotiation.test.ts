import { describe, expect, it } from "vitest";
import { acceptsJson, preferredType } from "#gateway/negotiation.ts";

describe("acceptsJson", () => {
  it.each([
    ["Teku, Prysm: no header", undefined, false],
    ["Lighthouse, Lodestar, Nimbus", "application/json", true],
    ["curl", "*/*", true],
    ["axios", "application/json, text/plain, */*", true],
    ["JSON among others", "text/plain, application/json;q=0.5", true],
    ["another spelling", "Application/JSON", true],
    ["with a parameter", "application/json; charset=utf-8", true],
    ["application/*", "application/*", true],
    ["text only", "text/plain", false],
    ["text/*", "text/*", false],
    ["JSON refused", "application/json;q=0", false],
    ["JSON refused with decimals", "application/json;q=0.000", false],
    ["a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true],
    ["something like JSON", "application/jsonp", false],
    ["empty", "", false],
    ["no media type", "json", false],
    ["a quality that is no number", "application/json;q=high", false],
    ["a quality beyond 1", "application/json;q=2", false],
  ])("%s: %s → %s", (_client, accept, json) => {
    expect(acceptsJson(accept)).toBe(json);
  });

  it("reads no more than 32 entries", () => {
    expect(acceptsJson(`${"text/plain,".repeat(31)}application/json`)).toBe(true);
    expect(acceptsJson(`${"text/plain,".repeat(32)}application/json`)).toBe(false);
  });
});

describe("preferredType", () => {
  const TEXT = "text/plain";
  const JSON_ = "application/json";
  it.each([
    [undefined, TEXT],
    ["", TEXT],
    ["*/*", TEXT],
    ["text/plain", TEXT],
    ["text/*", TEXT],
    ["application/json", JSON_],
    ["application/*", JSON_],
    ["application/json, text/plain, */*", JSON_],
    ["text/plain, application/json", TEXT],
    ["application/json, */*", JSON_],
    ["application/json;q=0.5, text/plain", TEXT],
    ["application/json;q=0.9, text/plain;q=0.8", JSON_],
    ["*/*, text/plain;q=0", JSON_],
    ["*/*;q=0.1, application/json;q=0", TEXT],
    ["text/html", undefined],
    ["application/json;q=0", undefined],
    ["garbage", undefined],
  ])("%s → %s", (accept, type) => {
    expect(preferredType(accept, [TEXT, JSON_])).toBe(type);
  });
});
