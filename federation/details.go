package federation

// details are what only people ask for, of the few entries that have any.
type details struct {
	until    Date
	owner    string
	ticket   string
	note     string
	decision *Decision // nil: from the file
}
