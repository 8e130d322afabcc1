import { describe, expect, it } from "vitest";
import type { ControlClient } from "#pool-manager/control-client.ts";
import { loadBundles } from "#pool-manager/keys/bundle-loader.ts";
import type { RingKey } from "#pool-manager/keys/key-ring.ts";
import { toHex } from "#protocol/bytes.ts";
import { SignerError } from "#protocol/errors.ts";
import type { LoadReport } from "#protocol/messages/control.ts";
import type { LoadBundle } from "#protocol/messages/sealed.ts";

let serial = 0;
const keysOf = (header: number, count: number): RingKey[] =>
  Array.from({ length: count }, () => {
    serial += 1;
    const pubkey = new Uint8Array(48);
    new DataView(pubkey.buffer).setUint32(0, serial);
    return { pubkey, sealed: new Uint8Array(60), registered: false, header: new Uint8Array(90).fill(header) };
  });

type Answer = (bundle: LoadBundle) => LoadReport;
const loaded: Answer = ({ keys }) => ({ loaded: keys.length, failures: [] });

const run = async (keys: readonly RingKey[], answer: Answer = loaded, { closed = false } = {}) => {
  const sent: { header: number | undefined; keys: number; accessKeyId: string }[] = [];
  const progress: number[] = [];
  let asked = 0;
  const control = {
    closed,
    loadBundle: async (bundle: LoadBundle) => {
      const { header, keys: own, credentials } = bundle;
      sent.push({ header: header[0], keys: own.length, accessKeyId: credentials.accessKeyId });
      return answer(bundle);
    },
  } as unknown as ControlClient;
  const credentials = async () => {
    asked += 1;
    return { accessKeyId: `key-${asked}`, secretAccessKey: "secret" };
  };
  const report = await loadBundles({ control, keys }, { credentials, onProgress: ({ done }) => progress.push(done) });
  return { report, sent, progress };
};

describe("loading bundles", () => {
  it("sends each bundle once, whole, with credentials asked for anew", async () => {
    const [one, two, three] = [keysOf(1, 2), keysOf(2, 3), keysOf(1, 1)];
    const { report, sent, progress } = await run([...one, ...two, ...three]);
    expect(report).toEqual({ loaded: 6, failures: [] });
    expect(sent).toEqual([
      { header: 1, keys: 3, accessKeyId: "key-1" },
      { header: 2, keys: 3, accessKeyId: "key-2" },
    ]);
    expect(progress).toEqual([3, 6]);
  });

  it("cuts what is longer than a bundle may be", async () => {
    const { sent } = await run(keysOf(1, 2001));
    expect(sent.map(({ keys }) => keys)).toEqual([1000, 1000, 1]);
  });

  it("names all keys of a bundle that fails, and goes on with the next", async () => {
    const [bad, good] = [keysOf(1, 2), keysOf(2, 1)];
    const { report } = await run([...bad, ...good], (bundle) => {
      if (bundle.header[0] === 1) throw new SignerError("bad_request", "bundle: group: another");
      return loaded(bundle);
    });
    expect(report.loaded).toBe(1);
    const reason = "bundle: group: another";
    expect(report.failures).toEqual(bad.map(({ pubkey }) => ({ pubkeyHex: toHex(pubkey), reason })));
  });

  it("does not wait for KMS bundle by bundle while it is away", async () => {
    const keys = [1, 2, 3, 4, 5].flatMap((header) => keysOf(header, 1));
    const { report, sent } = await run(keys, () => {
      throw new SignerError("deadline_exceeded", "KMS: timed out");
    });
    expect(sent.length).toBe(2);
    expect(report.loaded).toBe(0);
    expect(report.failures.length).toBe(5);
  });

  it("goes on when KMS is away for one bundle", async () => {
    const keys = [1, 2, 3, 4, 5].flatMap((header) => keysOf(header, 1));
    const { report, sent } = await run(keys, (bundle) => {
      if (bundle.header[0] === 2 || bundle.header[0] === 4) throw new SignerError("unavailable", "KMS: throttled");
      return loaded(bundle);
    });
    expect(sent.length).toBe(5);
    expect(report.loaded).toBe(3);
  });

  it.each([
    ["the connection broke", new SignerError("connection_lost", "gone"), false],
    ["the enclave is gone", new SignerError("unavailable", "gone"), true],
  ])("ends when %s", async (_, error, closed) => {
    const answer = (): never => {
      throw error;
    };
    await expect(run(keysOf(1, 1), answer, { closed })).rejects.toBe(error);
  });
});
