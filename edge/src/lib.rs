//! Edgekeep's gate: a worker that judges access tokens at the CDN edge.

#[cfg(target_arch = "wasm32")]
mod entry {
    use worker::{Context, Env, Request, Response, Result, event};

    /// Answers every request with `ok`.
    #[event(fetch)]
    async fn fetch(_request: Request, _env: Env, _context: Context) -> Result<Response> {
        Response::ok("ok")
    }
}
