//! The web app is embedded as it was built last: a new one is taken up by the next build.
#![expect(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

fn main() {
    println!("cargo:rerun-if-changed=inbox/built");
}
