/** A signature algorithm; `EdDSA` is Ed25519. */
export type Algorithm = 'ES256' | 'EdDSA' | 'RS256';

/** A public key as a JWK (RFC 7517). */
export interface Jwk {
  readonly kty: string;
  readonly kid?: string;
  readonly alg?: string;
  readonly use?: string;
  readonly crv?: string;
  readonly x?: string;
  readonly y?: string;
  readonly n?: string;
  readonly e?: string;
  readonly [member: string]: unknown;
}

/** A JWK Set (RFC 7517 §5). */
export interface JwkSet {
  readonly keys: readonly Jwk[];
}

/** A signed revocation list, and how old it may be. */
export interface RevocationOptions {
  /**
   * The issuer's public control keys, one or two, as `edgekeep keys control` prints them. A list
   * that none of them has signed does not count.
   */
  readonly controlKeys: Jwk | readonly Jwk[] | JwkSet;
  /** Where the list is; by default `<issuer>/.well-known/revocations`. */
  readonly url?: string | URL;
  /** A list that was signed longer ago than this many seconds does not count; by default 900. */
  readonly maxStale?: number;
  /**
   * Where no list counts: `deny` (the default) rejects with `revocation_unavailable`, `allow`
   * relies on the last one for `allowStaleFor` seconds more.
   */
  readonly onStale?: 'deny' | 'allow';
  /** Seconds beyond `maxStale`; goes with `onStale: 'allow'` and with nothing else. */
  readonly allowStaleFor?: number;
}

/** An issuer that is trusted. */
export interface IssuerOptions {
  /** `iss`, compared exactly. */
  readonly issuer: string;
  /** `aud`, which the token must name. */
  readonly audience: string;
  /**
   * The signed revocation list. The word `'none'` goes without: a token that was revoked passes
   * until it expires.
   */
  readonly revocation: RevocationOptions | 'none';
  /** The algorithms that are accepted; by default all that the issuer has keys for. */
  readonly algorithms?: readonly (Algorithm | 'Ed25519')[];
  /** The JWK Set's URL; by default `<issuer>/.well-known/jwks.json`. */
  readonly jwksUrl?: string | URL;
  /** The keys themselves, instead of a URL. */
  readonly jwks?: JwkSet;
  /** `typ`; by default `at+jwt`. */
  readonly tokenType?: string;
  /** Seconds by which clocks may differ, 0 to 300; by default 5. */
  readonly leeway?: number;
}

/** What a verifier uses of its surroundings. */
export interface Environment {
  /** How documents are fetched, for instance through a service binding; by default `fetch`. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** The claims that are read. Lists are there even where the token has none. */
export interface Claims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: readonly string[];
  readonly client_id: string;
  readonly exp: number;
  readonly iat: number;
  readonly nbf?: number;
  readonly jti: string;
  /** The session that the token belongs to. */
  readonly sid?: string;
  /** `scope`, taken apart. */
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  readonly amr: readonly string[];
  readonly acr?: string;
  readonly auth_time?: number;
  readonly kyc_level?: number;
  readonly kyc_status?: string;
  readonly device_id?: string;
  readonly customer_id?: string;
}

/** A token whose signature, claims and revocation have been judged. */
export interface VerifiedToken {
  readonly claims: Claims;
  /** The `kid` of the key that signed it. */
  readonly keyId: string;
}

/** Why a token does not count. */
export type RejectionCode =
  | 'token_missing'
  | 'token_malformed'
  | 'token_too_large'
  | 'algorithm_not_allowed'
  | 'critical_header'
  | 'wrong_type'
  | 'key_unknown'
  | 'signature_invalid'
  | 'claim_missing'
  | 'claim_invalid'
  | 'issuer_mismatch'
  | 'audience_mismatch'
  | 'token_expired'
  | 'token_not_yet_valid'
  | 'token_revoked'
  | 'keys_unavailable'
  | 'revocation_unavailable';

/** What `verify` throws of a token that does not count. */
export class Rejection extends Error {
  private constructor();
  readonly name: 'Rejection';
  /** The stable code, the same as the gate's. */
  readonly code: RejectionCode;
  /** The HTTP status that the gate answers with: 401, or 503 where it could not be judged. */
  readonly status: 401 | 503;
  /** Of `key_unknown`, `keys_unavailable` and `revocation_unavailable`: what the source said. */
  readonly cause?: Error;
}

/**
 * Verifies access tokens of the issuers that it was told to trust. Make one and keep it: it holds
 * keys, lists and verified tokens.
 */
export class Verifier {
  /** @throws {TypeError} for an option that is missing, unknown or cannot be understood. */
  constructor(issuers: IssuerOptions | readonly IssuerOptions[], environment?: Environment);

  /** @throws {Rejection} where the token does not count. */
  verify(token: string | null | undefined): Promise<VerifiedToken>;

  /**
   * The same for the value of an `Authorization` header.
   *
   * @throws {Rejection} where the token does not count, or the header has none.
   */
  verifyAuthorization(header: string | null | undefined): Promise<VerifiedToken>;
}
