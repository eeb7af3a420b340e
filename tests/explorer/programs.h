/* Small programs over the core, written as one line each; programs.c has the grammar. */
#ifndef LOTS_PROGRAMS_H
#define LOTS_PROGRAMS_H

#include "explorer.h"

void program_load(const char *text); /* exits on a mistake in the text */
void program_setup(void);
void program_check(void);

#endif
