//! The WebAssembly build of `edgekeep-judge` in Node.js, which is asked as the native one is.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::edge::root;

/// A Node.js process that answers.
#[derive(Debug)]
pub struct WebAssembly {
    child: Child,
    questions: ChildStdin,
    answers: ChildStdout,
}

/// The built folder.
fn built() -> PathBuf {
    let folder = std::env::var_os("EDGEKEEP_JUDGE")
        .map_or_else(|| root().join("build/judge"), PathBuf::from);
    assert!(
        folder.join("judge.js").is_file(),
        "{} is not there; scripts/build-judge makes it",
        folder.display()
    );
    folder.canonicalize().unwrap()
}

impl WebAssembly {
    /// Starts it.
    ///
    /// # Panics
    /// When it was not built, or does not start.
    pub fn start() -> Self {
        let mut child = Command::new("node")
            .arg(root().join("shared/tests/judge/ask.mjs"))
            .arg(built())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cannot start Node.js");
        Self {
            questions: child.stdin.take().unwrap(),
            answers: child.stdout.take().unwrap(),
            child,
        }
    }

    /// Asks, without waiting for the answer: the caller may do something meanwhile.
    ///
    /// # Panics
    /// When it has ended.
    pub fn ask(&mut self, question: &[u8]) {
        let length = u32::try_from(question.len()).unwrap().to_le_bytes();
        let asked = self
            .questions
            .write_all(&length)
            .and_then(|()| self.questions.write_all(question))
            .and_then(|()| self.questions.flush());
        asked.expect("Node.js has ended; what it said of that is above");
    }

    /// The answer to the earliest question that has had none.
    ///
    /// # Panics
    /// When it has ended.
    pub fn answer(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.answers
            .read_exact(&mut length)
            .expect("Node.js has ended; what it said of that is above");
        let mut answer = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
        self.answers.read_exact(&mut answer).unwrap();
        answer
    }
}

impl Drop for WebAssembly {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
