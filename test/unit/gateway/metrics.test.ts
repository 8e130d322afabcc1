import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SignerError } from "#protocol/errors.ts";
import { ENCLAVE_COUNTERS } from "#protocol/messages/control.ts";
import { enclaveStatus, member, poolView, SIGNED } from "./fake-pool.ts";
import { type RunningGateway, runGateway, sendTo } from "./running-gateway.ts";

describe("GET /metrics", () => {
  let gateway: RunningGateway;
  beforeEach(async () => {
    gateway = await runGateway();
  });
  afterEach(() => gateway.close());

  const scrape = async (): Promise<Map<string, number>> => {
    const { status, headers, body } = await sendTo(`${gateway.metricsUrl}/metrics`);
    expect([status, headers["content-type"]]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
    const samples = body.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return new Map(samples.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]));
  };

  it("counts signing requests by type and outcome, and by Web3Signer's names", async () => {
    const attestation = '{"type":"ATTESTATION"}';
    await gateway.sign(attestation);
    await gateway.sign(attestation);
    await gateway.sign('{"type":"RANDAO_REVEAL"}');
    gateway.pool.answer = async () => ({ kind: "denied", rule: "double_vote", detail: "" });
    await gateway.sign(attestation);
    gateway.pool.answer = async () => {
      throw new SignerError("unknown_key", "no such key");
    };
    await gateway.sign(attestation);
    await gateway.send("/api/v1/eth2/sign/0x00", { method: "POST", body: attestation });
    await gateway.sign("");
    await gateway.sign(Buffer.alloc(1024 * 1024 + 1));
    await gateway.sign(attestation, { headers: { host: "evil.example" } });

    const samples = await scrape();
    const of = (type: string, outcome: string): number | undefined =>
      samples.get(`testudo_sign_requests_total{type="${type}",outcome="${outcome}"}`);
    expect(of("ATTESTATION", "signed")).toBe(2);
    expect(of("RANDAO_REVEAL", "signed")).toBe(1);
    expect(of("ATTESTATION", "denied")).toBe(1);
    expect(of("ATTESTATION", "unknown_key")).toBe(1);
    expect(of("ATTESTATION", "bad_request")).toBe(1);
    expect(of("unknown", "bad_request")).toBe(2);
    expect(of("BLOCK_V2", "store_suspect")).toBe(0);
    expect(samples.get('testudo_sign_duration_seconds_count{type="ATTESTATION"}')).toBe(5);
    expect(samples.get("signing_bls_signing_duration_count")).toBe(3);
    expect(samples.get("signing_bls_missing_identifier_count_total")).toBe(1);
    expect(samples.get("http_bls_malformed_request_count_total")).toBe(3);
    expect(samples.get("eth2_slashingprotection_permitted_signings_total")).toBe(2);
    expect(samples.get("eth2_slashingprotection_prevented_signings_total")).toBe(1);
    expect(samples.get("signing_signers_loaded_count")).toBe(1);
    expect(samples.get("testudo_sign_requests_in_flight")).toBe(0);
  });

  it("shows requests in flight", async () => {
    let release: (outcome: typeof SIGNED) => void = () => undefined;
    gateway.pool.answer = () => new Promise((resolve) => (release = resolve));
    const waiting = gateway.sign("{}");
    await expect.poll(async () => (await scrape()).get("testudo_sign_requests_in_flight")).toBe(1);
    release(SIGNED);
    await waiting;
    await expect.poll(async () => (await scrape()).get("testudo_sign_requests_in_flight")).toBe(0);
  });

  it("reads the pool at the time of the scrape", async () => {
    const counters = Object.fromEntries(ENCLAVE_COUNTERS.map((name, index) => [name, index + 1])) as never;
    gateway.pool.current = poolView({
      members: [
        member({ status: enclaveStatus({ keys: 7, inFlight: 3, counters }) }),
        member({ cid: 17, state: "launching" }),
      ],
    });
    const samples = await scrape();
    expect(samples.get('testudo_enclave_up{cid="16",state="ready"}')).toBe(1);
    expect(samples.get('testudo_enclave_up{cid="17",state="launching"}')).toBe(0);
    expect(samples.get('testudo_enclave_keys{cid="16"}')).toBe(7);
    expect(samples.get('testudo_enclave_in_flight{cid="16"}')).toBe(3);
    expect(samples.get('testudo_enclave_signed_total{cid="16"}')).toBe(1);
    expect(samples.get('testudo_enclave_rejected_frames_total{cid="16"}')).toBe(6);
    expect(samples.get('testudo_enclave_store_round_trips_total{cid="16"}')).toBe(7);
    expect(samples.get("testudo_pool_manager_connected")).toBe(1);

    gateway.pool.current = poolView({ members: [], connected: false });
    const later = await scrape();
    expect([...later.keys()].filter((name) => name.startsWith("testudo_enclave_"))).toEqual([]);
    expect(later.get("testudo_pool_manager_connected")).toBe(0);
  });

  it("shows the process", async () => {
    const samples = await scrape();
    expect(samples.get("process_cpu_seconds_total")).toBeGreaterThan(0);
    expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
    expect(samples.get(`nodejs_version_info{version="${process.version}"}`)).toBe(1);
  });

  it.each([
    ["another path", "GET", "/", {}, 404],
    ["another method", "POST", "/metrics", {}, 405],
    ["HEAD", "HEAD", "/metrics", {}, 200],
    ["a query", "GET", "/metrics?x=1", {}, 200],
    ["a foreign host", "GET", "/metrics", { host: "evil.example" }, 403],
  ])("%s", async (_name, method, path, headers, status) => {
    const answer = await sendTo(`${gateway.metricsUrl}${path}`, { method, headers: headers as Record<string, string> });
    expect(answer.status).toBe(status);
    if (status >= 400) expect(JSON.parse(answer.body)).toMatchObject({ code: status });
  });

  it("is not served on the signing listener", async () => {
    expect((await gateway.send("/metrics")).status).toBe(404);
  });
});
