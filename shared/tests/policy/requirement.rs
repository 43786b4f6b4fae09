//! What a rule asks of a token's holder, and how a refusal names it.

use edgekeep_shared::error::Rejection;
use edgekeep_shared::path::canonicalise;
use edgekeep_shared::policy::{Holder, Missing, Policy, Requirement};

use crate::support::token_access;

fn requirement(rest: &str) -> Requirement {
    let policy = Policy::parse(&format!("[[route]]\nmatch = \"/a\"\n{rest}")).unwrap();
    token_access(&policy.rules()[0]).requirement.clone()
}

const NOBODY: Holder<'static, &str> = Holder {
    scopes: &[],
    roles: &[],
    permissions: &[],
    kyc_level: None,
    kyc_status: None,
    subject: None,
    customer_id: None,
    amr: &[],
    acr: None,
    auth_time: None,
};

/// The code of the refusal and the challenge's parameters; `ok` where nothing is missing.
fn outcome(requirement: &Requirement, holder: &Holder<'_, &str>, now: i64) -> String {
    match requirement.check(holder, |_| None, now) {
        Ok(()) => "ok".into(),
        Err(missing) => {
            let mut text = missing.rejection().code().to_owned();
            missing.write_challenge(&mut text);
            text
        }
    }
}

#[test]
fn asks_for_rights() {
    let all = requirement("scopes = [\"a\", \"b\"]");
    let scoped = |scopes| Holder { scopes, ..NOBODY };
    assert_eq!(outcome(&all, &scoped(&["b", "c", "a"]), 0), "ok");
    for scopes in [&["a"][..], &[], &["ab"], &["A", "b"], &["a b"]] {
        let expected = "insufficient_scope, scope=\"a b\"";
        assert_eq!(outcome(&all, &scoped(scopes), 0), expected, "{scopes:?}");
    }
    let any = requirement("any_scope = [\"a\", \"b\"]");
    assert_eq!(outcome(&any, &scoped(&["b"]), 0), "ok");
    assert_eq!(
        outcome(&any, &scoped(&["c"]), 0),
        "insufficient_scope, scope=\"a b\""
    );

    let roles = requirement("roles = [\"admin\", \"staff\"]");
    assert_eq!(
        outcome(
            &roles,
            &Holder {
                roles: &["staff"],
                ..NOBODY
            },
            0
        ),
        "ok"
    );
    assert_eq!(
        outcome(
            &roles,
            &Holder {
                roles: &["Admin"],
                ..NOBODY
            },
            0
        ),
        "insufficient_role"
    );
    assert_eq!(outcome(&roles, &scoped(&["admin"]), 0), "insufficient_role");

    let permissions = requirement("permissions = [\"p\", \"q\"]");
    let holding = |permissions| Holder {
        permissions,
        ..NOBODY
    };
    assert_eq!(outcome(&permissions, &holding(&["q", "p"]), 0), "ok");
    assert_eq!(
        outcome(&permissions, &holding(&["p"]), 0),
        "insufficient_permission"
    );

    let kyc = requirement("kyc_level = 2");
    for (level, expected) in [
        (None, "kyc_required"),
        (Some(1), "kyc_required"),
        (Some(2), "ok"),
        (Some(255), "ok"),
    ] {
        assert_eq!(
            outcome(
                &kyc,
                &Holder {
                    kyc_level: level,
                    ..NOBODY
                },
                0
            ),
            expected
        );
    }
    assert_eq!(outcome(&Requirement::default(), &NOBODY, 0), "ok");
}

#[test]
fn counts_kinds_of_factors() {
    let mfa = requirement("mfa = true");
    let table: &[(&[&str], bool)] = &[
        (&["mfa"], true),
        (&["pwd", "otp"], true),
        (&["otp", "pwd"], true),
        (&["pwd", "sms", "user"], true),
        (&["hwk", "fpt"], true),
        (&["hwk", "pin"], true),
        (&["pwd", "face"], true),
        (&["swk", "kba"], true),
        (&[], false),
        (&["pwd"], false),
        (&["pwd", "pwd"], false),
        (&["pwd", "pin", "kba"], false),
        (&["otp", "sms", "hwk", "swk", "sc", "tel", "pop"], false),
        (&["face", "fpt", "iris", "retina", "vbm"], false),
        (&["pwd", "user"], false),
        (&["pwd", "geo", "rba", "wia", "mca"], false),
        (&["pwd", "email"], false),
        (&["pwd", "OTP"], false),
        (&["MFA"], false),
        (&["pwd,otp"], false),
    ];
    for (amr, enough) in table {
        let expected = if *enough { "ok" } else { "step_up_required" };
        assert_eq!(
            outcome(&mfa, &Holder { amr, ..NOBODY }, 0),
            expected,
            "{amr:?}"
        );
    }
}

#[test]
fn asks_for_fresh_authentication_to_the_second() {
    let fresh = requirement("max_age = 300");
    let table: &[(Option<i64>, bool)] = &[
        (Some(1000), true),
        (Some(701), true),
        (Some(700), true),
        (Some(699), false),
        (Some(0), false),
        (Some(i64::MIN), false),
        (Some(1005), true),
        (Some(1006), false),
        (Some(i64::MAX), false),
        (None, false),
    ];
    for (auth_time, enough) in table {
        let expected = if *enough {
            "ok"
        } else {
            "step_up_required, max_age=\"300\""
        };
        let holder = Holder {
            auth_time: *auth_time,
            ..NOBODY
        };
        assert_eq!(outcome(&fresh, &holder, 1000), expected, "{auth_time:?}");
    }
    // The ends of time overflow nothing.
    let holder = Holder {
        auth_time: Some(i64::MIN),
        ..NOBODY
    };
    let fails_at = |now| fresh.check(&holder, |_| None, now).is_err();
    assert!(fails_at(i64::MAX) && !fails_at(i64::MIN));
}

#[test]
fn asks_for_everything_of_a_step_up_at_once_and_for_rights_first() {
    let all =
        requirement("roles = [\"r\"]\nacr = [\"gold\", \"silver\"]\nmax_age = 60\nmfa = true");
    assert_eq!(outcome(&all, &NOBODY, 0), "insufficient_role");
    let step_up = "step_up_required, acr_values=\"gold silver\", max_age=\"60\"";
    let role = Holder {
        roles: &["r"],
        ..NOBODY
    };
    assert_eq!(outcome(&all, &role, 0), step_up);
    let strong = Holder {
        acr: Some("silver"),
        amr: &["mfa"],
        auth_time: Some(0),
        ..role
    };
    assert_eq!(outcome(&all, &strong, 60), "ok");
    assert_eq!(outcome(&all, &strong, 61), step_up);
    assert_eq!(
        outcome(
            &all,
            &Holder {
                acr: Some("Gold"),
                ..strong
            },
            60
        ),
        step_up
    );
    assert_eq!(
        outcome(
            &all,
            &Holder {
                acr: None,
                ..strong
            },
            60
        ),
        step_up
    );
    assert_eq!(
        outcome(
            &all,
            &Holder {
                amr: &["pwd"],
                ..strong
            },
            60
        ),
        step_up
    );
    assert!(matches!(
        all.check(&role, |_| None, 0),
        Err(Missing::StepUp {
            mfa: true,
            max_age: Some(60),
            ..
        })
    ));
    assert_eq!(
        all.check(&role, |_| None, 0).unwrap_err().rejection(),
        Rejection::StepUpRequired
    );
}

#[test]
fn owns_what_the_path_names_by_a_claim() {
    let text = r#"
[[route]]
match = "/c/{customer}/u/{user}/**"
owner = { user = "sub", customer = "customer_id" }
owner_or_roles = ["support", "admin"]
"#;
    let policy = Policy::parse(text).unwrap();
    let rule = &policy.rules()[0];
    let requirement = &token_access(rule).requirement;
    let person = Holder {
        subject: Some("gr\u{f6}\u{df}e 1"),
        customer_id: Some("acme"),
        ..NOBODY
    };
    for (path, holder, owns) in [
        ("/c/acme/u/gr%C3%B6%C3%9Fe%201", person, true),
        ("/c/acme/u/gr%C3%B6%C3%9Fe%201/orders/7", person, true),
        ("/c/acme/u/gr%C3%B6%C3%9Fe%202", person, false),
        ("/c/acme/u/GR%C3%B6%C3%9Fe%201", person, false),
        ("/c/other/u/gr%C3%B6%C3%9Fe%201", person, false),
        ("/c/acme/u/gr%C3%B6%C3%9Fe%201", NOBODY, false),
        (
            "/c/acme/u/x",
            Holder {
                subject: Some("x"),
                ..NOBODY
            },
            false,
        ),
        (
            "/c/acme/u/x",
            Holder {
                roles: &["admin"],
                ..NOBODY
            },
            true,
        ),
        (
            "/c/acme/u/x",
            Holder {
                roles: &["member"],
                ..person
            },
            false,
        ),
    ] {
        let path = canonicalise(path).unwrap();
        let parameter = |name: &str| {
            let mut all = rule.pattern().parameters(&path);
            all.find(|(own, _)| *own == name).map(|(_, value)| value)
        };
        let verdict = requirement.check(&holder, parameter, 0);
        assert_eq!(verdict.is_ok(), owns, "{} {holder:?}", path.as_str());
        if let Err(missing) = verdict {
            assert_eq!(missing.rejection(), Rejection::InsufficientPermission);
        }
    }
}

#[test]
fn asks_for_a_state_of_verification_and_for_methods() {
    let verified = requirement("kyc_status = [\"verified\", \"trusted\"]");
    for (kyc_status, expected) in [
        (Some("verified"), "ok"),
        (Some("trusted"), "ok"),
        (Some("expired"), "kyc_required"),
        (Some("Verified"), "kyc_required"),
        (None, "kyc_required"),
    ] {
        let holder = Holder {
            kyc_status,
            ..NOBODY
        };
        assert_eq!(outcome(&verified, &holder, 0), expected, "{kyc_status:?}");
    }
    let hardware = requirement("amr = [\"hwk\", \"sc\"]");
    for (amr, expected) in [
        (&["pwd", "hwk"][..], "ok"),
        (&["sc"], "ok"),
        (&["pwd", "otp"], "step_up_required"),
        (&[], "step_up_required"),
    ] {
        let holder = Holder { amr, ..NOBODY };
        assert_eq!(outcome(&hardware, &holder, 0), expected, "{amr:?}");
    }
}
