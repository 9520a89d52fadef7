//! A user at a terminal: a directory, and a kubeconfig whose current namespace is the room's.

use crate::support::Room;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// Goes, with its directory, when it is out of scope.
pub struct Shell {
    directory: PathBuf,
}

impl Shell {
    pub fn new(room: &Room) -> Shell {
        let directory = std::env::temp_dir().join(format!("lotest-{}", room.namespace));
        std::fs::create_dir_all(&directory).unwrap();
        let shell = Shell { directory };
        let kubeconfig = std::env::var("LOTEST_TEST_KUBECONFIG").unwrap();
        shell.write("kubeconfig", &std::fs::read_to_string(kubeconfig).unwrap());
        shell.ok(&format!(
            "kubectl config set-context --current --namespace {}",
            room.namespace
        ));
        shell
    }

    /// Writes a file in the directory.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).unwrap();
    }

    /// A new file in the directory.
    pub fn file(&self, name: &str) -> std::fs::File {
        std::fs::File::create(self.directory.join(name)).unwrap()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .current_dir(&self.directory)
            .env("KUBECONFIG", self.directory.join("kubeconfig"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs what must end well; what it printed.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", said(&output));
        stdout(&output)
    }

    /// Starts what runs until it is stopped; it prints into the file.
    pub fn start(&self, line: &str, file: &str) -> Started {
        // In place of the shell, so that its end is the program's.
        let mut command = self.command(&format!("exec {line}"));
        let child = command.stdout(self.file(file)).spawn();
        Started(child.unwrap())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Killed when it goes out of scope.
pub struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything that was said, for a message.
pub fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    format!("{}\n{}{stderr}", output.status, stdout(output))
}

/// The cells of what kubectl prints as a table.
pub fn table(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}
