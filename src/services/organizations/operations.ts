export const organizationsOperations = {} as const;
