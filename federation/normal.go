package federation

// Normal returns a domain in its one normal form: A-labels, lower case, no
// trailing dot.
func Normal(name string) (string, error) { return normalDomain(name) }
