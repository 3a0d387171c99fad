// SPDX-License-Identifier: MIT
/* doctor.c - the subcommand: options, survey, facts, report, exit status. */
#include "doctor/doctor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

/* What was asked for by name must be there. */
static bool all_there(const struct doctor *d)
{
	unsigned int asked = 0, there = 0;

	for (unsigned int i = 0; i < SET_NR; i++) {
		asked += d->sets[i];
		there += d->sets[i] && d->set[i].available;
	}
	return there && (asked > 1 || there == asked);
}

int hmmu_doctor(int argc, char **argv)
{
	struct doctor *d = calloc(1, sizeof(*d));
	int status = HMMU_EXIT_FAILED, ret;

	if (!d) {
		perror("hmmu doctor");
		return HMMU_EXIT_FAILED;
	}
	if (doctor_options(d, argc, argv, &status))
		goto out;
	ret = survey(d);
	if (ret) {
		fprintf(stderr, "hmmu doctor: cannot run: %s\n", strerror(-ret));
		status = HMMU_EXIT_FAILED;
		goto out;
	}
	machine_facts(d);
	if (d->json)
		print_json(d);
	else
		print_table(d);
	if (d->weaker || d->broken)
		status = HMMU_EXIT_FAILED;
	else
		status = all_there(d) ? HMMU_EXIT_OK : HMMU_EXIT_REFUSED;
	if (command_flushed("hmmu doctor"))
		status = HMMU_EXIT_FAILED;
out:
	free(d);
	return status;
}
