package versions

import "path"

// CheckSource refuses a source that can be none, whatever the tag.
func CheckSource(source string) error {
	h := Home{cfg: Config{Release: "https://api.github.com"}}
	_, err := h.locate(source, "v1.0.0")
	return err
}

// CheckAsset refuses a pattern of asset names that is none.
func CheckAsset(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return problem(ErrSource, "a pattern is such as antelope-spring_*_{arch}.deb", "%q is no pattern of asset names", pattern)
	}
	return nil
}
