// SPDX-License-Identifier: MIT
/*
 * lines.pml - what the Spin models share: their lines, chosen at run time.
 *
 * As in models/relacy/model.h a model is a list of lines: itself, which must be clean, and
 * its mutants, each of which must give a counterexample of the kind that it names:
 *
 *	X(NAME, "what", shape, check, expected)
 *
 *	shape		which processes init starts; from 100 on: big, `make verify` only
 *	check		safety: assertions and invalid end states; else the ltl formula that
 *			is looked at, under weak fairness
 *	expected	clean, assert, stuck (an invalid end state), cycle
 *
 * One build of pan for all: M(NAME) is true in the run of that line, PAN_LINE=NAME. Without
 * PAN_LINE pan prints the list. Neither is part of the state.
 */
#define LINE_ENUM(name, what, shape, check, expected) MU_##name,
#define LINE_ROW(name, what, shape, check, expected) {#name, what, shape, #check, #expected},

c_decl {
	enum { LINES(LINE_ENUM) MU_NR };
	static const struct line {
		const char *name; const char *what; int shape;
		const char *check; const char *expected;
	} pan_lines[] = { LINES(LINE_ROW) };
	static int planted, shape;

	__attribute__((constructor)) static void choose_line(void)
	{
		const char *name = getenv("PAN_LINE");
		int i;

		for (i = 0; i < MU_NR; i++) {
			const struct line *l = &pan_lines[i];

			if (!name)
				printf("%s\t%d\t%s\t%s\t%s\n", l->name, l->shape, l->check,
				       l->expected, l->what);
			else if (!strcmp(name, l->name))
				break;
		}
		if (!name || i == MU_NR)
			exit(name != 0);
		planted = i;
		shape = pan_lines[i].shape;
	}
}

#define M(name) c_expr { (planted == MU_##name) }
#define SHAPE(n) c_expr { (shape == (n)) }
