/**
 * Vectors of the native signer's known-answer test (`signer.ts`).
 *
 * Sources: the first three keys and their signatures are cases of ethereum/bls12-381-tests (`sign`); the others were made
 * with @chainsafe/blst 2.2.0 (`SecretKey.sign`), and `test/unit/enclave-worker/native/known-answers.test.ts` makes them
 * again. The keys include those at the edges of the range and the two that the comb cannot do (`src/comb.h`), and are more
 * than one chunk of the comb.
 */

/** What signing a root under {@link KNOWN_SECRETS} gives. */
export interface KnownAnswer {
  /** The root is 32 times this byte. */
  readonly rootByte: number;
  /** Signatures under the first keys, from bls12-381-tests. */
  readonly first: readonly string[];
  /** SHA-256 of all signatures, one after the other. */
  readonly digest: string;
}

/** Secret keys of the test, of no worth to anybody. */
export const KNOWN_SECRETS: readonly string[] = [
  // bls12-381-tests
  "0x263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3",
  "0x47b8192d77bf871b62e87859d653922725724a5c031afeabc60bcef5ff665138",
  "0x328388aff0d4a5b7dc9205abd374e7e98f3cd9f3418edb4eafda5fb16473d216",
  // 1, 2, 3, r - 3, r - 2, r - 1
  "0x0000000000000000000000000000000000000000000000000000000000000001",
  "0x0000000000000000000000000000000000000000000000000000000000000002",
  "0x0000000000000000000000000000000000000000000000000000000000000003",
  "0x73eda753299d7d483339d80809a1d80553bda402fffe5bfefffffffefffffffe",
  "0x73eda753299d7d483339d80809a1d80553bda402fffe5bfefffffffeffffffff",
  "0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000000",
  // 2^254, 2^254 - 1, 2^254 + 1, 2^128, 2^128 - 1
  "0x4000000000000000000000000000000000000000000000000000000000000000",
  "0x3fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "0x4000000000000000000000000000000000000000000000000000000000000001",
  "0x0000000000000000000000000000000100000000000000000000000000000000",
  "0x00000000000000000000000000000000ffffffffffffffffffffffffffffffff",
  // (r - 1) / 2, (r + 1) / 2
  "0x39f6d3a994cebea4199cec0404d0ec02a9ded2017fff2dff7fffffff80000000",
  "0x39f6d3a994cebea4199cec0404d0ec02a9ded2017fff2dff7fffffff80000001",
  // Exceptional for the comb: its last addition meets a point twice.
  "0x1251c3d2e247d5f9da85897c85fdb572f8ec22c0573fd02c5555542daaaaabd3",
  "0x619be3804755a74e58b44e8b83a422925ad18142a8be8bd2aaaaabd15555542e",
  // Alternating bits
  "0x5555555555555555555555555555555555555555555555555555555555555555",
  "0x2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/** The roots of the test, and what signing them must give. */
export const KNOWN_ANSWERS: readonly KnownAnswer[] = [
  {
    rootByte: 0xab,
    first: [
      "0x91347bccf740d859038fcdcaf233eeceb2a436bcaaee9b2aa3bfb70efe29dfb2677562ccbea1c8e061fb9971b0753c240622fab78489ce96768259fc01360346da5b9f579e5da0d941e4c6ba18a0e64906082375394f337fa1af2b7127b0d121",
      "0x9674e2228034527f4c083206032b020310face156d4a4685e2fcaec2f6f3665aa635d90347b6ce124eb879266b1e801d185de36a0a289b85e9039662634f2eea1e02e670bc7ab849d006a70b2f93b84597558a05b879c8d445f387a5d5b653df",
      "0xae82747ddeefe4fd64cf9cedb9b04ae3e8a43420cd255e3c7cd06a8d88b7c7f8638543719981c5d16fa3527c468c25f0026704a6951bde891360c7e8d12ddee0559004ccdbe6046b55bae1b257ee97f7cdb955773d7cf29adf3ccbb9975e4eb9",
    ],
    digest: "0x86fb6a9171aefc5d7a926585e5661c47c0885a8de1d92f94704295292e37c929",
  },
  {
    rootByte: 0x56,
    first: [
      "0x882730e5d03f6b42c3abc26d3372625034e1d871b65a8a6b900a56dae22da98abbe1b68f85e49fe7652a55ec3d0591c20767677e33e5cbb1207315c41a9ac03be39c2e7668edc043d6cb1d9fd93033caa8a1c5b0e84bedaeb6c64972503a43eb",
      "0xaf1390c3c47acdb37131a51216da683c509fce0e954328a59f93aebda7e4ff974ba208d9a4a2a2389f892a9d418d618418dd7f7a6bc7aa0da999a9d3a5b815bc085e14fd001f6a1948768a3f4afefc8b8240dda329f984cb345c6363272ba4fe",
      "0xa4efa926610b8bd1c8330c918b7a5e9bf374e53435ef8b7ec186abf62e1b1f65aeaaeb365677ac1d1172a1f5b44b4e6d022c252c58486c0a759fbdc7de15a756acc4d343064035667a594b4c2a6f0b0b421975977f297dba63ee2f63ffe47bb6",
    ],
    digest: "0xc11b947b3edc46bf065cd448ded488502c75344a6dd7dbd3ff61166255709b37",
  },
];
