import { describe, expect, it } from "vitest";
import { type AdviceOptions, aclCommand, adviseOn } from "#enclave/slashing/redis-advice.ts";

const OPTIONS: AdviceOptions = { keyPrefix: "testudo", durability: "aof-always", isCluster: false, db: 0 };

describe("adviseOn", () => {
  it.each([
    ["NOAUTH Authentication required.", "--store-password-file"],
    ["WRONGPASS invalid username-password pair or user is disabled.", "check the user in --store"],
    ["NOPERM this user has no permissions to run the 'info' command", "missing permission: +info;"],
    ["NOPERM User signer has no permissions to run the 'config|get' command", "missing permission: +config|get;"],
    ["NOPERM this user has no permissions to access one of the keys used as arguments", "~testudo:*;"],
    ["ERR ACL failure in script: User signer has no permissions to run the 'set' command script: 1", "+set;"],
    ["ERR The user executing the script can't run this command or subcommand script: f, on", "+get and +set;"],
    ["ERR The user executing the script can't access at least one of the keys mentioned", "~testudo:*;"],
    ["MOVED 5 10.0.0.1:6379", "--store redis+cluster://… --store-durability managed"],
  ])("says what mends %s", (message, advice) => {
    const text = adviseOn(message, OPTIONS);
    expect(text).toContain(message);
    expect(text).toContain(advice);
  });

  it("adds nothing to what it does not know, and to a cluster's own answers", () => {
    expect(adviseOn("ERR something else", OPTIONS)).toBe("ERR something else");
    expect(adviseOn("MOVED 5 10.0.0.1:6379", { ...OPTIONS, isCluster: true })).toBe("MOVED 5 10.0.0.1:6379");
    expect(adviseOn("x".repeat(1000), OPTIONS)).toHaveLength(300);
  });
});

describe("aclCommand", () => {
  it("grants what the level needs, and nothing else", () => {
    expect(aclCommand({ ...OPTIONS, username: "signer" })).toBe(
      "redis-cli ACL SETUSER signer on '><password>' resetkeys '~testudo:*' resetchannels -@all " +
        "+info +eval +get +set +mget +scan '+config|get'",
    );
    expect(aclCommand({ ...OPTIONS, durability: "replicated:2", db: 1 })).toMatch(
      /\+scan \+select '\+config\|get' \+wait$/,
    );
    expect(aclCommand({ ...OPTIONS, durability: "managed", isCluster: true })).toMatch(
      /\+scan '\+cluster\|slots' '\+cluster\|info'$/,
    );
  });
});
