//! B11 and B15 on a disk that is really full: a small file system in memory, in a mount namespace
//! of its own, so that nothing of the machine's is touched and nothing is left behind.

use std::process::Command;

use super::*;
use crate::bus::contract::{CHILD_ENV, lease_one, pass};

/// Each step is a process of its own; those that die on purpose do it by SIGABRT (134).
const STORY: &str = r#"
set -eu
step() { LOKET_TEST_CHILD="$1 $DISK/bus $NOTES" "$EXE" "$TEST" --exact --ignored --nocapture; }
dies() { set +e; step "$1"; code=$?; set -e; [ $code -eq 134 ] || { echo "step $1 ended with $code"; exit 1; }; }
mount -t tmpfs -o size=64m tmpfs "$DISK"

step prepare
fill() { dd if=/dev/zero of="$DISK/$1" bs=4096 2>/dev/null || true; }
fill filler
dies start_without_a_byte_free
dies start_without_a_ballast
fill filler_of_the_ballast
dies start_again
step go_on

rm -r "$DISK/bus"
dies fill_up
fill filler
step find_all_that_was_confirmed
"#;

fn tell(home: &Path, flags: &[&str], script: &str) -> std::process::Output {
    let (_, test) = concat!(module_path!(), "::step").split_once("::").unwrap();
    Command::new("unshare")
        .args(flags)
        .args(["sh", "-c", script])
        .env("DISK", home.join("disk"))
        .env("NOTES", home.join("notes"))
        .env("EXE", std::env::current_exe().unwrap())
        .env("TEST", test)
        .output()
        .unwrap()
}

#[test]
fn b15_a_full_disk_loses_nothing_and_the_ballast_makes_room() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("disk")).unwrap();
    // Root needs only the mounts for itself; others must also be root of their own namespace.
    let try_mount = "mount -t tmpfs tmpfs \"$DISK\"";
    let flags = [&["-m"][..], &["-r", "-m"][..]];
    let Some(flags) = flags.into_iter().find(|flags| tell(home.path(), flags, try_mount).status.success())
    else {
        crate::trial::skip("a full disk cannot be tried, because mounting is not allowed here");
        return;
    };
    let told = tell(home.path(), flags, STORY);
    assert!(
        told.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr)
    );
}

fn large(number: usize) -> Item {
    Item { payload: vec![1; 32 * 1024].into(), ..item(number, number) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that another test starts"]
async fn step() {
    let Some(order) = std::env::var_os(CHILD_ENV) else { return };
    let order = order.into_string().unwrap();
    let [step, place, notes] = order.split(' ').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let fixture = Directory::at(place);
    let ballast = fixture.dir.join("ballast");
    let bus = fixture.open().await;
    let unavailable = |published| matches!(published, Err(BusError::Unavailable(_)));
    match step {
        "prepare" => {
            let some: Vec<_> = (0..100).map(large).collect();
            bus.publish("line", &some).await.unwrap();
            assert!(ballast.exists());
        }
        "start_without_a_byte_free" => {
            assert!(!ballast.exists(), "the ballast made room");
            assert!(unavailable(bus.publish("line", &[large(200)]).await));
            for lease in lease(&*bus, "line", "crew", 60).await {
                lease.ack().await.unwrap();
            }
            pass(Duration::from_millis(1500)).await;
            std::process::abort();
        }
        "start_without_a_ballast" => {
            // There is room, but it is what acknowledging needs.
            assert!(!ballast.exists());
            assert!(unavailable(bus.publish("line", &[large(200)]).await));
            std::process::abort();
        }
        "start_again" => {
            assert_eq!(bus.depth("line", "crew").await.unwrap().items, 40, "what was acknowledged is gone");
            let held = lease(&*bus, "line", "crew", 40).await;
            assert_eq!(held[0].item(), &large(60));
            std::process::abort();
        }
        "go_on" => {
            let more = [large(500)];
            assert!(unavailable(bus.publish("line", &more).await));
            for filler in ["filler", "filler_of_the_ballast"] {
                std::fs::remove_file(fixture.dir.parent().unwrap().join(filler)).unwrap();
            }
            eventually("there is room again", || async { bus.publish("line", &more).await.is_ok() }).await;
            eventually("and a new ballast", || async { ballast.exists() }).await;
            let mut expected: Vec<_> = (60..100).map(|number| number.to_string()).collect();
            expected.push("500".to_owned());
            assert_eq!(contract::ids(&drain(&*bus, "line", "crew").await), expected);
        }
        "fill_up" => {
            let mut confirmed = 0;
            while bus.publish("line", &[large(confirmed)]).await.is_ok() {
                confirmed += 1;
            }
            assert!(confirmed > 100, "{confirmed}");
            assert!(unavailable(bus.publish("line", &[large(9999)]).await));
            for _ in 0..10 {
                lease_one(&*bus, "line", "crew").await.ack().await.unwrap();
            }
            std::fs::write(notes, confirmed.to_string()).unwrap();
            pass(Duration::from_millis(1500)).await;
            std::process::abort();
        }
        "find_all_that_was_confirmed" => {
            let confirmed: usize = std::fs::read_to_string(notes).unwrap().parse().unwrap();
            let came = contract::ids(&drain(&*bus, "line", "crew").await);
            let expected: Vec<_> = (10..confirmed).map(|number| number.to_string()).collect();
            let (sure, unsure) = came.split_at(expected.len().min(came.len()));
            assert_eq!(sure, expected);
            assert!(unsure.len() <= 2, "{unsure:?}");
        }
        other => panic!("no step {other}"),
    }
    bus.close().await;
}
