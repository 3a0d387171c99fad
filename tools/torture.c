// SPDX-License-Identifier: MIT
/* torture.c - the subcommand: options, source, run, report, exit status. */
#include "torture/cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static int open_mm(struct torture *t)
{
	struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = t->options.source,
	};
	int ret = hmmu_mm_open(&t->mm, &options);

	if (!ret) {
		options.sources = HMMU_SOURCE_EXPLICIT;
		ret = hmmu_mm_open(&t->deaf, &options);
	}
	if (ret)
		fprintf(stderr, "hmmu torture: source %s: %s%s\n", source_name(t),
			strerror(-ret),
			ret == -EOPNOTSUPP ? ": it does not work here; try --source explicit"
					   : "");
	return ret;
}

static int report(struct torture *t)
{
	struct total total[NR_COLUMNS];
	enum outcome outcome;
	char why[512];

	totals(t, total);
	outcome = outcome_of(t, total, why, sizeof(why));
	command_progress_over();
	if (t->options.json) {
		if (report_json(t, total, outcome, why))
			outcome = OUTCOME_BROKEN;
	} else {
		report_table(t, total);
	}
	if (fflush(stdout) || ferror(stdout))
		outcome = OUTCOME_BROKEN;
	switch (outcome) {
	case OUTCOME_PASSED:
		if (!t->options.json)
			puts(source_brackets(t)
				     ? "passed: both planted bugs show, hmmu has 0 stale"
				     : "passed: the planted bug shows, hmmu has 0 stale");
		return fflush(stdout) ? HMMU_EXIT_FAILED : HMMU_EXIT_OK;
	case OUTCOME_PROVED_NOTHING:
		fprintf(stderr, "hmmu torture: proved nothing: %s\n", why);
		break;
	case OUTCOME_STALE:
		fprintf(stderr, "hmmu torture: FAILED: %s\n", why);
		break;
	default:
		fprintf(stderr, "hmmu torture: %s\n", why);
	}
	report_replay(t);
	return HMMU_EXIT_FAILED;
}

int hmmu_torture(int argc, char **argv)
{
	struct torture *t = calloc(1, sizeof(*t));
	int status = HMMU_EXIT_FAILED, ret;

	if (!t) {
		perror("hmmu torture");
		return HMMU_EXIT_FAILED;
	}
	if (options_parse(&t->options, argc, argv, &status))
		goto out;
	if (replay_open(t))
		goto out;
	ret = open_mm(t);
	if (ret) {
		status = ret == -EOPNOTSUPP ? HMMU_EXIT_REFUSED : HMMU_EXIT_FAILED;
		goto out;
	}
	t->net = source_has_net(t);
	if (t->options.callers == CALLERS_AUTO)
		t->options.callers = source_sees_raw(t) ? CALLERS_MIXED : CALLERS_LIBC;
	ret = torture_run(t);
	if (ret) {
		const char *fatal = atomic_load(&t->fatal);

		/* Nothing ran. The process's end cleans up. */
		fprintf(stderr, "hmmu torture: cannot run: %s (%s)\n", fatal ? fatal : "?",
			strerror(atomic_load(&t->fatal_error)));
		return ret == -ENOSYS || ret == -EPERM ? HMMU_EXIT_REFUSED : HMMU_EXIT_FAILED;
	}
	for (unsigned int i = 0; i < t->nr_devices && !t->options.cache; i++)
		device_close(&t->devices[i]);
	if (t->cache)
		cache_close(t);
	status = report(t);
	regions_close(t);
	free(t->devices);
	if ((hmmu_mm_close(t->deaf) || hmmu_mm_close(t->mm)) && status == HMMU_EXIT_OK) {
		fputs("hmmu torture: hmmu_mm_close: something is still subscribed\n", stderr);
		status = HMMU_EXIT_FAILED;
	}
out:
	replay_close(t);
	free(t);
	return status;
}
