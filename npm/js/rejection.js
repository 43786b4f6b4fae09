/** Why a token does not count. */
export class Rejection extends Error {
  /** The stable code, the same as the gate's. */
  code;
  /** The HTTP status that the gate answers with. */
  status;

  constructor(code, status, cause) {
    super(code, cause === undefined ? undefined : { cause });
    this.code = code;
    this.status = status;
  }

  get name() {
    return 'Rejection';
  }
}
