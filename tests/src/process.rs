//! A child process: its output kept, its end certain.

use std::io::{self, BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How many of the last lines are shown of a child whose test fails.
const SHOWN_LINES: usize = 40;

/// How long a child may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    fn follow(self: &Arc<Self>, output: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { return };
                if let Ok(mut lines) = log.lines.lock() {
                    lines.push(String::from_utf8_lossy(&line).into_owned());
                }
                log.grown.notify_all();
            }
        });
    }
}

/// A running child. Dropping it ends it, and shows the end of its log if the test is failing.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: Arc<Log>,
    /// Whether it leads a process group of its own, with which it ends.
    leads: bool,
}

impl Process {
    /// Starts `command`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &'static str, command: Command) -> Self {
        Self::launch(name, command, false)
    }

    /// Starts `command`, which has children of its own: they end with it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_group(name: &'static str, mut command: Command) -> Self {
        command.process_group(0);
        Self::launch(name, command, true)
    }

    fn launch(name: &'static str, mut command: Command, leads: bool) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        Self {
            name,
            child,
            log,
            leads,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has said so far.
    ///
    /// # Panics
    /// When the thread that reads has.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits for the first line of which `find` makes something; `None` when the child ends
    /// without it or `limit` passes.
    ///
    /// # Panics
    /// When the thread that reads has.
    pub fn wait_for_line<T>(
        &mut self,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        const LOOK: Duration = Duration::from_millis(50);
        let begun = Instant::now();
        let log = Arc::clone(&self.log);
        let mut lines = log.lines.lock().unwrap();
        loop {
            if let Some(found) = lines.iter().find_map(|line| find(line)) {
                return Some(found);
            }
            if begun.elapsed() > limit || self.has_ended() {
                return None;
            }
            lines = log.grown.wait_timeout(lines, LOOK).unwrap().0;
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Ends it as a power cut would: it gets no chance to write anything.
    pub fn kill(&mut self) {
        // It may have ended already, which is what is wanted; its children may not.
        if self.leads {
            let _ = self.signal("-KILL");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits.
    ///
    /// # Errors
    /// When it does not.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.ask_to_end()?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > STOP_LIMIT {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn ask_to_end(&self) -> io::Result<()> {
        self.signal("-TERM")
    }

    /// The processes that run in the group that it leads, itself among them.
    ///
    /// # Panics
    /// Where the system does not tell.
    pub fn group(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").unwrap();
        let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        ids.filter(|id: &u32| {
            // `pid (name) state parent group …`; one that has ended but is not waited for is a Z.
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            fields.next() != Some("Z")
                && fields.nth(1).and_then(|group| group.parse().ok()) == Some(self.child.id())
        })
        .collect()
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let sign = if self.leads { "-" } else { "" };
        let status = Command::new("kill")
            .args([signal, "--"])
            .arg(format!("{sign}{}", self.child.id()))
            .stderr(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other("kill failed"))
        }
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "what helps to understand a failed test"
    )]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking()
            && let Ok(lines) = self.log.lines.lock()
        {
            let from = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!(
                "--- {} (pid {}), the end of its log",
                self.name,
                self.child.id()
            );
            for line in &lines[from..] {
                eprintln!("{line}");
            }
        }
    }
}

/// A port that nothing listens on, below those that the system hands out to clients, and that no
/// other test of this process is given.
///
/// # Panics
/// When there is none left.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes at a time begin at different places.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap();
    (0..COUNT)
        .map(|_| FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("no free port")
}

/// Runs `command` with `input` on its standard input, and gives what it said.
///
/// # Panics
/// When it cannot be run.
pub fn run(mut command: Command, input: &[u8]) -> std::process::Output {
    use std::io::Write as _;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that does not read its input closes it.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}
