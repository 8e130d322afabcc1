/**
 * Exact twins of Lodestar's SSZ types.
 *
 * Lodestar keeps most uint64 values in a JavaScript number, which is exact only up to 2^53-1 and hashes the rest
 * wrongly in silence. Clients do send more: proposer indices of 19 digits stand in Web3Signer's own examples. The twin
 * has the same fields, limits and hash_tree_root, and holds every unsigned integer as a bigint.
 *
 * Twins never cache a root on the value object: Lodestar's cache survives mutation and spread, and then answers with
 * the root of another message.
 *
 * Not covered, refused at module load: unions, optionals, stable and progressive containers (none occurs up to Fulu).
 */

import {
  type BasicType,
  type BitArray,
  BitArrayType,
  BooleanType,
  ByteArrayType,
  type CompositeType,
  ContainerType,
  ListBasicType,
  ListCompositeType,
  PartialListCompositeType,
  type Type,
  UintBigintType,
  UintNumberType,
  VectorBasicType,
  VectorCompositeType,
} from "@chainsafe/ssz";

/** The value type of the twin of a type with values `V`: the same with every number turned into a bigint. */
export type Exact<V> = V extends number
  ? bigint
  : V extends bigint | boolean | Uint8Array | BitArray
    ? V
    : V extends readonly (infer Element)[]
      ? Exact<Element>[]
      : { [Key in keyof V]: Exact<V[Key]> };

type AnyBasic = BasicType<unknown>;
type AnyComposite = CompositeType<unknown, unknown, unknown>;

/**
 * The exact twin of `type`, for use at module load.
 * @throws Error when the type has a part that this file does not know: a defect, never caused by input.
 */
export const exactType = <V>(type: Type<V>): Type<Exact<V>> => twin(type) as Type<Exact<V>>;

const twin = (type: Type<unknown>): Type<unknown> => {
  if (type instanceof UintNumberType) return new UintBigintType(type.byteLength) as Type<unknown>;
  if (type instanceof ContainerType) return twinContainer(type);
  if (type instanceof PartialListCompositeType) throw new Error(`no exact twin of ${type.typeName}`);
  if (type instanceof ListBasicType) return new ListBasicType(twin(type.elementType) as AnyBasic, type.limit);
  if (type instanceof ListCompositeType)
    return new ListCompositeType(twin(type.elementType) as AnyComposite, type.limit);
  if (type instanceof VectorBasicType) return new VectorBasicType(twin(type.elementType) as AnyBasic, type.length);
  if (type instanceof VectorCompositeType) {
    return new VectorCompositeType(twin(type.elementType) as AnyComposite, type.length);
  }
  if (isLeaf(type)) return type;
  throw new Error(`no exact twin of ${type.typeName}`);
};

const twinContainer = (type: ContainerType<Record<string, Type<unknown>>>): Type<unknown> => {
  const fields = Object.fromEntries(Object.entries(type.fields).map(([name, field]) => [name, twin(field)]));
  const { jsonCase, casingMap } = type.opts ?? {};
  const naming = { ...(jsonCase && { jsonCase }), ...(casingMap && { casingMap }) };
  return new ContainerType(fields, { typeName: type.typeName, ...naming });
};

/** Types without numbers inside, taken over as they are. */
const isLeaf = (type: Type<unknown>): boolean =>
  type instanceof UintBigintType ||
  type instanceof BooleanType ||
  type instanceof BitArrayType ||
  type instanceof ByteArrayType;
