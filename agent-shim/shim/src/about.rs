use std::fmt::Write;

/// What the daemon tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Version, as printed by `--version`.
    pub version: String,
    /// When it was built, any text.
    pub build_time: String,
    /// Where it was built.
    pub build_host: String,
    /// Who built it.
    pub build_user: String,
}

impl About {
    /// A version without further data about its build.
    #[must_use]
    pub fn version(version: &str) -> Self {
        let unknown = "unknown".to_owned();
        Self {
            version: version.to_owned(),
            build_time: unknown.clone(),
            build_host: unknown.clone(),
            build_user: unknown,
        }
    }

    /// The text of `vo_build_info`: utilities look for exactly these four keys in one object
    /// (control.md 4.2).
    #[must_use]
    pub fn build_info(&self) -> String {
        let fields = [
            ("build-time", &self.build_time),
            ("build-hostname", &self.build_host),
            ("build-user", &self.build_user),
            ("build-version", &self.version),
        ];
        let mut text = String::from("{\"build-info\": [{");
        for (i, (key, value)) in fields.into_iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let plain: String = value.chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}\"{key}\": \"{plain}\"");
        }
        text.push_str("}]}");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::About;

    #[test]
    fn build_info_has_the_shape_that_utilities_search() {
        let about = About { build_user: "o\"neil\n".to_owned(), ..About::version("1.2") };
        assert_eq!(
            about.build_info(),
            "{\"build-info\": [{\"build-time\": \"unknown\", \"build-hostname\": \"unknown\", \
             \"build-user\": \"oneil\", \"build-version\": \"1.2\"}]}"
        );
    }
}
