/**
 * What the official deposit tool (ethereum/staking-deposit-cli, `existing-mnemonic`) makes of one mnemonic, as recorded
 * in the tests of ChorusOne/eth-staking-smith (`src/key_material.rs`, `src/validators.rs`). Worthless keys: the mnemonic
 * is public.
 */

/** No passphrase. */
export const DEPOSIT_TOOL_MNEMONIC =
  "entire habit bottom mention spoil clown finger wheat motion fox axis mechanic country make garment bar blind " +
  "stadium sugar water scissors canyon often ketchup";

/** Keys of index 0, 1 and 2, and their BLS withdrawal credentials. */
export const DEPOSIT_TOOL_KEYS = [
  {
    pubkey: "8666389c3fe6ff0bca9adba81504f380b9e2c719419760d561836472fafe295cb50696524e19cba084e1d788d66c80d6",
    secret: "3f3e0a69a6a66aeaec606a2ccb47c703afb2e8ae64f70a1650c03343b06e8f0c",
    credentials: "00e078f11bc1454244bdf9f63a3b997815f081dd6630204186d4c9627a2942f7",
  },
  {
    pubkey: "974ec5bce4653f1f440ad07c5b363ad3b1616520e9680ff837f9ff7a8c10e3cc67dd49aa5089f714ed45d7ad56bc758a",
    secret: "5b17290ac4e36c497378351ed61253a239d408466918fe5a8dd79b28ef67f9df",
    credentials: "00df91f98d1b3f858c0a8f0ca9de217214413af3fa3ee2ef7f1624418c3afacb",
  },
  {
    pubkey: "8bf0a669a51d0cb6ff745e4b0aa7c41e8de8d179ff9267977e76c7188aaa2fb1b8b1bdfefcc545d9efdac0b4bc2239e6",
    secret: "1cb46382c3c046f7817298d1ad3454a7175be6e53059bdd287e8fcbf4c6fb2e8",
    credentials: "0036af360f452c1e241e32b1c766ea8dfb7e8c373f9111d758ec1aaf9590e80e",
  },
] as const;

/** Deposits of 32 ETH on mainnet for index 0, to address 0x00…01 and to the BLS withdrawal key. */
export const DEPOSIT_TOOL_DEPOSITS = {
  execution: {
    pubkey: DEPOSIT_TOOL_KEYS[0].pubkey,
    withdrawal_credentials: "0100000000000000000000000000000000000000000000000000000000000001",
    amount: 32_000_000_000,
    signature:
      "a1f3ece1cb871e1af29fdaf94cab58d48d128d0ed2342a1f042f49344943c25ec6eab4f2219301e421a88453c6aa29e9" +
      "0b78373a8341c17738bc0ff4d0a724494535b494cd21fd2633a7a12353a5232c9806e1576f1e2447631ec3310db4008b",
    deposit_message_root: "dc224ac1c94d70906d643644f20398bdea5dabea123116a9d6135b8f5f4906bd",
    deposit_data_root: "f5c6b52d2ba608f0df4123e5ed051b5765a636e09d1372668e1ec074430f2279",
    fork_version: "00000000",
    network_name: "mainnet",
  },
  bls: {
    pubkey: DEPOSIT_TOOL_KEYS[0].pubkey,
    withdrawal_credentials: DEPOSIT_TOOL_KEYS[0].credentials,
    amount: 32_000_000_000,
    signature:
      "8fb5a76232cb613c30e02b5946d252d0cc5ed8cfa81b7a1f781dc4f228c5e89e77b5b745fba4371be8ea7f02f6b7e18e" +
      "0e3661b04a63d51197bd43b9dea27fef97b8e2b94ffc989fc29484537bfed9f99b6bc57b45c2004dd23e1502006640d4",
    deposit_message_root: "9720268f705275b44bf4a7cd35246277f408dd245aafc676a3c335f1d714e724",
    deposit_data_root: "270169ee3da4da7566daa4a29727b893bb1c6ce2f26b6c861afe6d480b3f9a7d",
    fork_version: "00000000",
    network_name: "mainnet",
  },
} as const;
