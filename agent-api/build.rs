//! The web app is embedded as it was built last: a new one is taken up by the next build.

fn main() {
    println!("cargo:rerun-if-changed=inbox/built");
}
