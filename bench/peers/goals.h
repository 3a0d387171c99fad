/* SPDX-License-Identifier: MIT */
/* goals.h - what was aimed at, and whether it was reached. */
#ifndef HMMU_BENCH_PEERS_GOALS_H
#define HMMU_BENCH_PEERS_GOALS_H

#include "peers.h"

/* What a goal bounds, in every row that it chooses. */
enum bound {
	AT_MOST_NS,    /* hmmu's median */
	UCX_TIMES,     /* UCX's time divided by hmmu's: at least */
	OF_ONE_THREAD, /* hmmu's time divided by that of one thread: at most */
};

struct objective {
	const char *text;
	const char *group;  /* beginning of the row's */
	size_t least, most; /* regions */
	bool dependent;	    /* the dependent rows; else hot set and random */
	enum variant variant;
	enum bound bound;
	double value;
};

struct judged {
	const struct objective *objective;
	const struct row *worst; /* NULL: no row, nothing to say */
	double figure;		 /* of the worst row */
	bool met;
	bool met_scaled; /* ns: were they scaled to this machine */
};

extern const int nr_objectives;
struct judged judge(int objective);

#endif
