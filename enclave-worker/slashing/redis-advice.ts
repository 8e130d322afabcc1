/** What to do about an error that a Redis server answers; the ACL line grants exactly what this store uses. */

import type { RedisDurability } from "#protocol/messages/control.ts";

/** As what the store uses the server. */
export interface AdviceOptions {
  /** ACL user; undefined: the default user. */
  readonly username?: string | undefined;
  readonly keyPrefix: string;
  readonly durability: RedisDurability;
  readonly isCluster: boolean;
  readonly db: number;
}

/** Returns the error text, and what mends it where that is known. It never holds a password. */
export const adviseOn = (message: string, options: AdviceOptions): string => {
  const text = message.slice(0, ERROR_CHARACTERS_MAX);
  const advice = adviceOn(text, options);
  return advice === undefined ? text : `${text}; ${advice}`;
};

/** The `ACL SETUSER` command for the servers of a store. The password is for the operator to fill in. */
export const aclCommand = ({ username, keyPrefix, durability, isCluster, db }: AdviceOptions): string => {
  const commands = [
    "info",
    "eval",
    "get",
    "set",
    "mget",
    "scan",
    ...(db === 0 ? [] : ["select"]),
    ...(durability === "managed" ? [] : ["config|get"]),
    ...(durability.startsWith("replicated:") ? ["wait"] : []),
    ...(isCluster ? ["cluster|slots", "cluster|info"] : []),
  ];
  // Quoted for the shell, to which the bar means something else.
  const grants = commands.map((name) => (name.includes("|") ? `'+${name}'` : `+${name}`)).join(" ");
  return `redis-cli ACL SETUSER ${username ?? "testudo"} on '><password>' resetkeys '~${keyPrefix}:*' resetchannels -@all ${grants}`;
};

/** An error may quote arguments of any length. */
const ERROR_CHARACTERS_MAX = 300;

const adviceOn = (text: string, options: AdviceOptions): string | undefined => {
  if (/^NOAUTH\b/.test(text)) return "give a password: --store-password-file, and the ACL user in --store";
  if (/^WRONGPASS\b/.test(text)) return "check the user in --store and the password in --store-password-file";
  if (/^MOVED\b/.test(text) && !options.isCluster) {
    return "the server is one of a cluster: --store redis+cluster://… --store-durability managed";
  }
  const missing = missingPermission(text, options.keyPrefix);
  if (missing === undefined) return undefined;
  return `missing permission: ${missing}; grant all that is needed: ${aclCommand(options)}`;
};

/**
 * As ACL rules name it. For what a script does, Redis 7.0 says `The user executing the script can't …` and does not name
 * the command; later versions say `ACL failure in script` and do.
 */
const missingPermission = (text: string, keyPrefix: string): string | undefined => {
  if (/user executing the script can't run/i.test(text)) return "+get and +set";
  if (!/^NOPERM\b|ACL failure in script|user executing the script can't/i.test(text)) return undefined;
  const command = /run the '([a-z|_-]{1,40})' (?:sub)?command/i.exec(text)?.[1];
  if (command !== undefined) return `+${command.toLowerCase()}`;
  return /\bkeys?\b/.test(text) ? `~${keyPrefix}:*` : undefined;
};
