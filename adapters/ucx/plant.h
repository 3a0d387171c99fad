/* SPDX-License-Identifier: MIT */
/* plant.h - bugs planted on purpose, one for each rule of ucx.c. A test build switches one
 * on by number, and a test must fail (tests/ucx/meson.build). */
#ifndef HMMU_UCX_PLANT_H
#define HMMU_UCX_PLANT_H

enum hmmu_ucx_plant {
	HMMU_UCX_PLANT_NONE,
	HMMU_UCX_PLANT_NO_START,  /* UCX is not told before the change */
	HMMU_UCX_PLANT_NO_END,	  /* nor after it: as its own hooks */
	HMMU_UCX_PLANT_NO_FORGET, /* what was cached before the start is believed */
};

#ifdef HMMU_UCX_PLANT
extern int hmmu_ucx_planted; /* set before the start */
#define PLANTED(name) (hmmu_ucx_planted == HMMU_UCX_PLANT_##name)
#else
#define PLANTED(name) 0
#endif

#endif /* HMMU_UCX_PLANT_H */
