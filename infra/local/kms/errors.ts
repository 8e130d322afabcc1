/** Errors as AWS KMS answers them: an HTTP status and a JSON body with `__type` (AWS KMS API reference, common errors). */

/** A refusal or fault that goes to the caller. */
export class KmsFault extends Error {
  /** `__type` of the body. */
  readonly type: string;
  readonly status: number;

  constructor(type: string, message: string, status = 400) {
    super(message);
    this.name = "KmsFault";
    this.type = type;
    this.status = status;
  }
}

/** The body; access control writes its text with a capital letter, the service itself with a small one. */
export const faultBody = ({ type, message }: KmsFault): string => {
  if (message === "") return JSON.stringify({ __type: type });
  return JSON.stringify({ __type: type, [type === "AccessDeniedException" ? "Message" : "message"]: message });
};

/** A request that is not one of this operation. */
export const invalid = (message: string): KmsFault => new KmsFault("ValidationException", message);
