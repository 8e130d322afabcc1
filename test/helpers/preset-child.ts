/**
 * Parses signing requests in a process of their own, because the SSZ preset is process-wide.
 * stdin: JSON `{network, body}[]`, all of one preset; stdout: JSON of one `{root}` or `{error}` each.
 * It does what the command line does: resolve the network first, set the preset, and only then load SSZ code.
 */

import { text } from "node:stream/consumers";
import { toHex } from "#protocol/bytes.ts";
import { loadNetwork } from "#protocol/signing/load-network.ts";

const requests = JSON.parse(await text(process.stdin)) as { network: string; body: unknown }[];
const load = (network: string) => loadNetwork({ network, readFile: () => "" });
process.env.LODESTAR_PRESET = load(requests[0]?.network ?? "mainnet").preset;

const { assertPreset } = await import("#protocol/signing/preset.ts");
const { parseSignRequest } = await import("#protocol/signing/request.ts");

const answers = requests.map(({ network, body }) => {
  try {
    assertPreset(load(network));
    const request = parseSignRequest(new TextEncoder().encode(JSON.stringify(body)), load(network));
    return { root: toHex(request.signingRoot) };
  } catch (error) {
    return { error: String(error) };
  }
});
process.stdout.write(JSON.stringify(answers));
