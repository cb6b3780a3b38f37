//! The numbers and names that the operator guide promises, spelled out once more: a table of the
//! program that is compared with itself would agree with any slip in it.

use super::exec::ExecConfig;
use super::*;

/// The lines of `periscope config check` for the settings of the guide's section 2, with what is in
/// effect where nobody says anything.
#[test]
fn the_guides_defaults_are_those_of_the_program() {
    let settings = good(&[], ONE, None);
    let exec = &settings.exec;
    assert_eq!(exec.idle.value, 600);
    assert_eq!(exec.idle_warn.value, 30);
    assert_eq!(exec.heartbeat.value, 20);
    assert_eq!(exec.sessions_per_user_max.value, 5);
    assert_eq!(exec.sessions_total_max.value, 50);
    assert!(!settings.probe_on_boot.value);
}

#[test]
fn each_of_the_six_keys_overrides_its_setting_and_no_other() {
    let with = |exec: &str| good(&[], &one_with(exec), None).clusters.remove(0).exec;
    let all = |exec: &ExecConfig| {
        [
            u32::from(exec.is_enabled.value),
            exec.idle.value,
            exec.idle_warn.value,
            exec.heartbeat.value,
            exec.sessions_per_user_max.value,
            exec.sessions_total_max.value,
        ]
    };
    let defaults = [1, 600, 30, 20, 5, 50];
    let lines = [
        ("enabled: false", 0),
        ("serverIdleSeconds: 601", 601),
        ("idleWarnSeconds: 31", 31),
        ("heartbeatSeconds: 21", 21),
        ("maxSessionsPerUser: 6", 6),
        ("maxSessionsTotal: 51", 51),
    ];
    for (index, (line, value)) in lines.into_iter().enumerate() {
        let mut expected = defaults;
        expected[index] = value;
        assert_eq!(all(&with(line)), expected, "{line}");
    }
}
