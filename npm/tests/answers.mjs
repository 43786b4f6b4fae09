// What tests ask of the package, the same on every host.

/**
 * The verdicts on `lines`, each `name<TAB>token`, where a token with characters that a line cannot
 * hold is written as a JSON string: `name<TAB>ok sub` or `name<TAB>code`. All at once, as requests
 * come.
 */
export function verdicts(verify, Rejection, lines) {
  return Promise.all(
    lines.map(async (line) => {
      const tab = line.indexOf('\t');
      const [name, written] = [line.slice(0, tab), line.slice(tab + 1)];
      const token = written.startsWith('"') ? JSON.parse(written) : written;
      try {
        const { claims } = await verify(token);
        return `${name}\tok ${claims.sub}`;
      } catch (error) {
        if (error instanceof Rejection) return `${name}\t${error.code}`;
        return `${name}\tfailed ${error?.stack ?? error}`;
      }
    }),
  );
}

/** Answers a test's question: the path says what is asked, the body is lines. */
export async function answer({ Verifier, Rejection }, verifier, path, body) {
  const lines = body.split('\n').filter((line) => line !== '');
  switch (path) {
    case '/verify':
      return (await verdicts((token) => verifier.verify(token), Rejection, lines)).join('\n');
    case '/header':
      return (
        await verdicts((header) => verifier.verifyAuthorization(header), Rejection, lines)
      ).join('\n');
    case '/token':
      return JSON.stringify(await verifier.verify(body));
    case '/cause':
      try {
        await verifier.verify(body);
        return 'none';
      } catch (error) {
        return `${error.name} ${error.code} ${error.status} ${error.cause?.message ?? ''}`;
      }
    case '/options':
      // Whether there can be a verifier of these options.
      try {
        new Verifier(JSON.parse(body));
        return 'ok';
      } catch (error) {
        return `${error.name}: ${error.message}`;
      }
    default:
      return 'unknown';
  }
}
