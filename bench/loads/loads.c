// SPDX-License-Identifier: MIT
/*
 * loads.c - recorded loads, replayed as fast as it goes, in one thread: nanoseconds of a change
 * (start + end, and the callbacks that it has); then the same with READS accesses after each,
 * as a device makes between two changes. One pass of each side comes first: all have the same
 * callbacks, or nothing is measured.
 */
#include "loads.h"

#include <stdlib.h>

#include "../bench.h"

#define SIDES 3
#define READS 16

static const struct side *const sides[SIDES] = {&side_hmmu, &side_reference, &side_tree};

static void rows(const char *name, const struct load *load, size_t reads, struct stat *time,
		 struct stat *ratio, double each)
{
	char beside[32] = "";

	if (reads)
		snprintf(beside, sizeof(beside), " + %zu reads", reads);
	for (int i = 1; i < SIDES; i++) {
		struct line line = line_of("loads", "%s%s, among %zu, against %s", name, beside,
					   load->nr_subs, sides[i]->name);

		line.base_name = sides[i]->name;
		line.has_base = true;
		line.hmmu = time[0];
		line.base = time[i];
		line.ratio = ratio[i];
		if (i == 1)
			snprintf(line.note, sizeof(line.note),
				 "%zu changes, %.2f callbacks each, %zu subscriptions near",
				 load->nr_changes, each, load->nr_near);
		report(&line);
	}
}

static void measure_load(const char *name, const struct load *load, size_t reads)
{
	struct replay replays[SIDES];
	struct batch batches[SIDES], *in_turns[SIDES];
	struct stat time[SIDES], ratio[SIDES];
	double each;

	for (int i = 0; i < SIDES; i++) {
		replays[i] = (struct replay){
			.world = sides[i]->make_of(load->subs, load->nr_subs),
			.changes = load->changes,
			.n = load->nr_changes,
			.reads = reads,
		};
		batches[i] = (struct batch){.run = sides[i]->replay, .arg = &replays[i]};
		in_turns[i] = &batches[i];
		sides[i]->replay(&replays[i], load->nr_changes);
		if (replays[i].callbacks != replays[0].callbacks) {
			fprintf(stderr, "bench: %s: %lu callbacks of %s, %lu of hmmu\n", name,
				(unsigned long)replays[i].callbacks, sides[i]->name,
				(unsigned long)replays[0].callbacks);
			exit(1);
		}
	}
	each = (double)replays[0].callbacks / (double)load->nr_changes;
	measure_sides(in_turns, SIDES, time, ratio);
	rows(name, load, reads, time, ratio, each);
	for (int i = 0; i < SIDES; i++)
		sides[i]->drop(replays[i].world);
}

static void one(const char *name)
{
	const size_t sizes[] = {100, options.many / 10};
	struct line line = line_of("loads", "%s", name);
	struct recording recording;

	if (!wanted("loads", name))
		return;
	if (load_read(options.loads, name, &recording, line.note, sizeof(line.note))) {
		line.not_available = true;
		report(&line);
		return;
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct load load;

		if (load_choose(&load, &recording, sizes[i])) {
			measure_load(name, &load, 0);
			if (i == 1)
				measure_load(name, &load, READS);
		} else {
			line.not_available = true;
			snprintf(line.note, sizeof(line.note), "nothing changes in it");
			report(&line);
		}
		load_free(&load);
	}
	record_free(&recording);
}

void bench_loads(void)
{
	static const char *const names[] = {"gcc", "python3", "redis", "sqlite3"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		one(names[i]);
}
